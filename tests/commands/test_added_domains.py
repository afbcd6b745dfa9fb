"""A checkpoint is evaluated and analysed on domains that its run has never heard of."""

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pin_memory.domains import FolderDataModule, MultiSourceDataModule
from pin_memory.evaluation.compare import compare, read_runs
from pin_memory.evaluation.compare_tables import comparison_table, write_comparison
from tests.helpers.in_process import run_in_process
from tests.helpers.untrained_run import TRUST

IMAGES = 6


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Images and labels of a site of one's own: two classes, train ids."""
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        for kind in ("images", "labels"):
            (tmp_path / "site" / kind).mkdir(parents=True, exist_ok=True)
        label = np.zeros((48, 64), np.uint8)
        label[:20] = 10
        cv2.imwrite(str(tmp_path / "site" / "labels" / f"{number}.png"), label)
        cv2.imwrite(str(tmp_path / "site" / "images" / f"{number}.png"), generator.integers(0, 256, (48, 64, 3), np.uint8))
    return tmp_path / "site"


def call(name: str, run: Path, cwd: Path, capsys: pytest.CaptureFixture[str], *arguments: str, data: str | None = None) -> tuple[int, str]:
    """Exit code and all that `evaluate` or `analyze` prints; its results are in `cwd / "out"`."""
    main = importlib.import_module(f"pin_memory.{name}").main
    device = {"evaluate": "accelerator=cpu", "analyze": "device=cpu"}[name]
    given = [f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", f"paths.data={data or run / 'data'}", "hydra.run.dir=out", device, TRUST]
    code, output, errors = run_in_process(main, [*arguments, *given], cwd, capsys)
    return code, output + errors


def added(site: Path, *more: str) -> list[str]:
    """The way that the documentation names."""
    return ["+domain@data.targets.new=folder", f"data.targets.new.root={site}", *more]


def test_a_new_domain_is_evaluated_whole_and_marked(
    evaluated_run: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the results, the tables and a comparison; next to a target of the run, which is not marked."""
    code, said = call("evaluate", evaluated_run, tmp_path, capsys, *added(site), "targets=[new,bdd100k]")
    assert code == 0, said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["targets"]) == ["bdd100k", "new"]
    new = results["targets"]["new"]
    assert (new["added"], new["layout"]) == (True, "own folders")
    assert new["images"] == min(IMAGES, 2)  # the run's loading.max_test_images
    assert {name for name, value in new["iou"].items() if value is not None} == {"road", "sky"}
    assert "added" not in results["targets"]["bdd100k"]
    assert "new (added)" in said
    assert all("new (added)" in (tmp_path / "out" / name).read_text() for name in ("results.md", "results.csv", "report.html"))
    assert "bdd100k (added)" not in said

    comparison = compare(read_runs([str(evaluated_run), str(tmp_path / "out")]))
    assert comparison["titles"]["new"] == "new (added)"
    assert any(note.startswith("new added to the evaluation of ") for note in comparison["notes"])
    assert "new (added)" in comparison_table(comparison).text()
    for path in write_comparison(comparison, tmp_path / "comparison", ["markdown", "html", "latex"]):
        assert "new (added)" in path.read_text()


YAML = {
    "domain": ("+domain@data.targets.new=own", "defaults: [folder, _self_]\nroot: {site}\nids: {{0: road, 10: sky}}\n"),
    "experiment": (
        "+experiment=own",
        "# @package _global_\ndefaults:\n  - /domain@data.targets.new: folder\n  - _self_\nplace: {site}\n"
        "data: {{targets: {{new: {{root: '${{place}}', ids: {{0: road, 10: sky}}}}}}}}\n",
    ),
}


@pytest.mark.parametrize("group", sorted(YAML))
@pytest.mark.parametrize("name", ["evaluate", "analyze"])
def test_a_yaml_of_ones_own_names_a_new_domain(
    name: str, group: str, evaluated_run: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a domain, or as a file that adds targets, with variables of its own."""
    override, text = YAML[group]
    (tmp_path / "mine" / group).mkdir(parents=True)
    (tmp_path / "mine" / group / "own.yaml").write_text(text.format(site=site))
    chosen = {"evaluate": ["targets=new"], "analyze": ["domains=[new]", "plots=[confusion]", "images=1", "formats=[png]"]}[name]
    code, said = call(name, evaluated_run, tmp_path, capsys, "--config-dir", "mine", override, *chosen)
    assert code == 0, said
    if name == "evaluate":
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert {key: value["added"] for key, value in results["targets"].items()} == {"new": True}
    else:
        analysis = json.loads((tmp_path / "out" / "analysis.json").read_text())
        assert (analysis["added"], analysis["targets"]) == (["new"], {"new": 1})


def test_a_published_data_set_is_added(evaluated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target of the run once more, by another view, which is another measurement."""
    given = ["+domain@data.targets.small=bdd100k", "data.targets.small.view=half", "targets=[small,bdd100k]"]
    code, said = call("evaluate", evaluated_run, tmp_path, capsys, *given)
    assert code == 0, said
    targets = json.loads((tmp_path / "out" / "results.json").read_text())["targets"]
    assert {name: (target["view"], target.get("added", False)) for name, target in targets.items()} == {
        "bdd100k": ("native", False), "small": ("half", True)
    }  # fmt: skip


@pytest.mark.parametrize("name", ["evaluate", "analyze"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["+domain@data.targets.gtav=folder"], ["data.targets.gtav", "another name"]),  # a source's name
        (["+data.targets.bdd100k.view=half"], ["data.targets.bdd100k", "another name"]),  # a target's
        (["+domain@data.targets.new=gtav"], ["same data as the source 'gtav'"]),
        (["+domain@data.targets.new=folder", "data.targets.new.root={run}/data/gtav"], ["images of the target 'new'", "source 'gtav'"]),
        (["+domain@data.targets.new=folder", "data.targets.new.root={site}", "data.targets.new.classes=[a,b]"], ["different class lists"]),
        (["+domain@data.targets.new=folder", "data.targets.new.root={run}/checkpoints"], ["missing or incomplete", "=[new]"]),
        (["+domain@data.targets.new=folder", "data.targets.new.root={site}/none"], ["data.targets.new.root=", "/none: no such folder"]),
        (["+domain@data.targets.new=folder", "+data.targets.new.image=x"], ["no setting data.targets.new.image;", "images"]),
        (["+data.targets.new.root={site}"], ["data.targets.new is no data set", "+domain@data.targets.new="]),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, given: list[str], expected: list[str], evaluated_run: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [one.replace("{run}", str(evaluated_run)).replace("{site}", str(site)) for one in given]
    code, said = call(name, evaluated_run, tmp_path, capsys, *filled)
    assert code == 2, said
    assert all(part in said for part in expected), said
    assert "Traceback" not in said


def test_sources_that_are_not_here_are_named(
    evaluated_run: Path, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whether they share images cannot be told; the evaluation goes on."""
    code, said = call("evaluate", evaluated_run, tmp_path, capsys, *added(site, "targets=new"), data="nowhere")
    assert code == 0, said
    assert "Whether new shares images with gtav, synthia, idd was not checked" in said + caplog.text


def test_a_run_that_left_a_domain_out_is_evaluated_on_further_ones() -> None:
    domains: dict[str, Any] = {name: FolderDataModule(f"/{name}") for name in ("a", "b", "c")}
    module = MultiSourceDataModule.leave_one_out(domains, "b", targets={"new": FolderDataModule("/new")})
    assert (module.source_names, module.target_names) == (["a", "c"], ["b", "new"])
