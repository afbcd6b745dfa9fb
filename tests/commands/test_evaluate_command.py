"""`evaluate` with protocols, several checkpoints, baselines and tables, and `compare` on what it leaves."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pin_memory import load_model
from pin_memory.evaluation.evaluate import evaluate
from pin_memory.evaluation.targets import use_views
from pin_memory.inference import WHOLE, Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.runs import build, checkpoints
from pin_memory.runs.build import build_data
from pin_memory.runs.checkpoints import find_checkpoint, load_method, read_checkpoint
from pin_memory.runs.image_scores import read_image_scores
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.untrained_run import TRUST


def run(output: Path, evaluated: Path, *overrides: str) -> list[dict]:
    """`evaluate` in this process."""
    more = [] if any(o.startswith("checkpoint=") for o in overrides) else [f"checkpoint={evaluated}"]
    given = [*more, f"paths.data={evaluated / 'data'}", f"paths.run={output}", "accelerator=cpu", TRUST, *overrides]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return [results.to_json() for results in evaluate(compose("evaluate", overrides=given))]


@pytest.mark.slow
def test_a_training_run_keeps_its_counts_tables_and_protocol(trained_run: Path) -> None:
    results = json.loads((trained_run / "results.json").read_text())
    assert (results["protocol"], results["protocol_settings"]["scales"]) == ("whole@1", [1.0])
    with np.load(trained_run / "confusions.npz") as counts:
        assert set(counts) == set(results["targets"])
        for name, target in results["targets"].items():
            confusion = counts[name]
            assert (confusion.shape, confusion.dtype) == ((19, 19), np.int64)
            hits, truth = confusion.diagonal(), confusion.sum(1)
            with np.errstate(invalid="ignore"):
                iou = hits / (truth + confusion.sum(0) - hits)
            assert np.mean(iou[truth > 0]) == pytest.approx(target["miou"])
    assert all((trained_run / f"results.{suffix}").is_file() for suffix in ("md", "csv", "tex"))


def test_the_protocol_is_applied_and_recorded(evaluated_run: Path, tmp_path: Path) -> None:
    """The scores are those of the protocol's own predictions, image by image."""
    changes = ["protocol=sliding_768_flip", "protocol.window=[40,56]", "protocol.name=mine", "targets=bdd100k", "tables=csv"]
    (results,) = run(tmp_path / "out", evaluated_run, *changes)
    assert results["protocol"] == "mine@1 (window=[40, 56], overlap=0.3333, flip=True)"
    assert {path.name for path in (tmp_path / "out").glob("results.*")} == {"results.json", "results.csv"}
    method, chosen = load_method(find_checkpoint(evaluated_run), ["tests"])
    chosen.cfg.paths.data = str(evaluated_run / "data")
    data = build_data(chosen.cfg)
    expected, images = np.zeros((19, 19), np.int64), {}
    protocol = Protocol("mine", window=(40, 56), flip=True)
    for batch in data.targets["bdd100k"].test_dataloader():
        guess = protocol.predict(method.network, batch["image"], tuple(batch["label"].shape[-2:]), method.test_statistics)
        for truth, predicted in zip(batch["label"].flatten().tolist(), guess.flatten().tolist(), strict=True):
            if truth != 255:
                expected[truth, predicted] += 1
        for name, label, mask in zip(batch["name"], batch["label"], guess, strict=True):
            found = [
                ((label == k) & (mask == k)).sum() / ((label == k) | ((mask == k) & (label != 255))).sum()
                for k in label.unique()
                if k != 255
            ]
            images[name] = float(np.mean(found))
    with np.load(tmp_path / "out" / "confusions.npz") as counts:
        assert np.array_equal(counts["bdd100k"], expected)
    assert read_image_scores(tmp_path / "out") == {"bdd100k": pytest.approx(images, abs=1e-6)}
    assert len(images) == results["targets"]["bdd100k"]["images"]


def test_mapillary_1536_shows_mapillary_by_its_view_and_others_by_theirs(evaluated_run: Path, tmp_path: Path) -> None:
    (results,) = run(tmp_path / "out", evaluated_run, "protocol=mapillary_1536", "targets=[bdd100k]", "tables=[]")
    assert (results["protocol"], results["targets"]["bdd100k"]["view"]) == ("mapillary_1536@1", "native")
    chosen = read_checkpoint(find_checkpoint(evaluated_run))
    data = build_data(chosen.cfg)
    use_views(data, find_protocol("mapillary_1536"))
    assert {name: domain.view.name for name, domain in data.targets.items()} == {
        "cityscapes": "native", "bdd100k": "native", "mapillary": "centre_1536",
    }  # fmt: skip


def test_targets_are_evaluated_under_each_corruption(
    evaluated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target for each kind, scored on what was shown, and their mean; a stand-in for the package inverts the pictures."""
    package = SimpleNamespace(corrupt=lambda picture, severity, corruption_name: 255 - picture if corruption_name == "fog" else picture)
    monkeypatch.setitem(sys.modules, "imagecorruptions", package)
    (clean,) = run(tmp_path / "clean", evaluated_run, "targets=[bdd100k]", "tables=[]")
    (results,) = run(tmp_path / "out", evaluated_run, "targets=[bdd100k]", "corruptions=[fog,snow]", "severity=[2]", "tables=[]")
    fog, snow = (results["targets"][f"bdd100k_{kind}_2"] for kind in ("fog", "snow"))
    assert (fog["corruption"], snow["corruption"]) == ("fog@2", "snow@2")
    assert snow["iou"] == clean["targets"]["bdd100k"]["iou"]
    assert fog["iou"] != snow["iou"]
    assert results["mean_miou"] == pytest.approx((fog["miou"] + snow["miou"]) / 2)
    assert f"mean mIoU over 2 corrupted targets in %: {100 * results['mean_miou']:.1f}" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match=r"there is no smog; choose among .*fog.*, imagenet_c, cityscapes_c"):
        run(tmp_path / "out", evaluated_run, "corruptions=smog")
    with pytest.raises(ConfigurationError, match="severity=2: nothing is corrupted"):
        run(tmp_path / "out", evaluated_run, "severity=2")
    for nothing in (["corruptions=[]"], ["corruptions=[fog]", "severity=[]"]):
        with pytest.raises(ConfigurationError, match="expected a kind and a severity at least"):
            run(tmp_path / "out", evaluated_run, *nothing)


@pytest.mark.slow
def test_several_checkpoints_have_a_folder_each_and_one_table(evaluated_run: Path, tmp_path: Path) -> None:
    """One of them is the baseline; the best and the last checkpoint of a run."""
    best, last = (evaluated_run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    done = command(
        "evaluate", f"checkpoint=[{best},{last}]", f"baseline={last}", "targets=[bdd100k]", "protocol=whole_flip", "accelerator=cpu",
        f"paths.data={evaluated_run / 'data'}", "hydra.run.dir=out", "trust=[tests]", cwd=tmp_path,
    )  # fmt: skip
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["label"] for row in comparison["rows"]] == ["best", "last"]
    assert comparison["stand_in"]
    for row in comparison["rows"]:
        results = json.loads((tmp_path / "out" / row["label"] / "results.json").read_text())
        assert results["protocol"] == row["protocol"] == "whole_flip@1"
        assert row["targets"]["bdd100k"]["miou"]["mean"] == results["targets"]["bdd100k"]["miou"]
        assert (tmp_path / "out" / row["label"] / "confusions.npz").is_file()
    first, second = (row["targets"]["bdd100k"]["miou"]["mean"] for row in comparison["rows"])
    assert comparison["rows"][0]["gain"]["targets"]["bdd100k"]["miou"]["mean"] == pytest.approx(first - second)
    assert comparison["rows"][1]["gain"] is None
    for expected in ("gain, mIoU", "STAND-IN", "comparison.md", "comparison.csv", "comparison.tex"):
        assert expected in done.stdout
    # What evaluate left can be compared again, and never with the same run under another protocol in one row.
    done = command("compare", f"runs=[out,{evaluated_run}]", "output=again", "formats=[json]", cwd=tmp_path)
    again = json.loads((tmp_path / "again" / "comparison.json").read_text())
    assert sorted(row["protocol"] for row in again["rows"]) == ["whole@1", "whole_flip@1", "whole_flip@1"]
    assert "rows of different protocols cannot be compared" in done.stdout


def test_gain_over_an_earlier_run(evaluated_run: Path, tmp_path: Path) -> None:
    before = json.loads((evaluated_run / "results.json").read_text())
    (results,) = run(tmp_path / "out", evaluated_run, f"baseline={evaluated_run}", "targets=[bdd100k]")
    assert results["gain"]["targets"]["bdd100k"]["miou"] == pytest.approx(0, abs=1e-9)
    assert results["targets"]["bdd100k"]["miou"] == pytest.approx(before["targets"]["bdd100k"]["miou"])
    assert "gain, road" in (tmp_path / "out" / "results.md").read_text()
    assert results["gain"]["mean_miou"] is None  # of one target here, of three there
    (line,) = [line for line in (tmp_path / "out" / "results.md").read_text().splitlines() if line.startswith("| gain, mIoU |")]
    assert line == "| gain, mIoU | 0.0 | - |"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["protocol=whole_flip", "baseline={run}"], "evaluated by protocol whole@1.*whole_flip@1"),
        (["baseline=nowhere"], "baseline=nowhere"),
        (["tables=[word]"], "tables=word.*markdown"),
        (["checkpoint=[{run},{run}]"], "given 2 times"),
        (["checkpoint=[{best},{last}]", "baseline=mldg"], "baseline=mldg.*best"),
        (["checkpoint=[{best},{last}]", "targets=[acdc]"], "acdc.*cityscapes"),
        (["checkpoint=[]"], "checkpoint="),
    ],
)
def test_mistakes_are_found_before_anything_is_evaluated(evaluated_run: Path, tmp_path: Path, overrides: list[str], expected: str) -> None:
    names = {"run": evaluated_run, "best": evaluated_run / "checkpoints/best.ckpt", "last": evaluated_run / "checkpoints/last.ckpt"}
    with pytest.raises(ConfigurationError, match=expected):
        run(tmp_path / "out", evaluated_run, *(o.format(**names) for o in overrides))
    assert not list(tmp_path.rglob("results.json"))


def test_a_checkpoint_that_names_no_protocol_means_the_whole_image(evaluated_run: Path, tmp_path: Path) -> None:
    content = torch.load(find_checkpoint(evaluated_run), weights_only=True)
    config = content["pin_memory"]["config"]
    assert config.pop("protocol")["name"] == "whole"
    assert config["method"].pop("protocol") == "${protocol}"
    torch.save(content, tmp_path / "old.ckpt")
    assert load_method(tmp_path / "old.ckpt", ["tests"]).method.protocol == WHOLE
    assert load_model(tmp_path / "old.ckpt", trust=["tests"]).protocol == WHOLE


def test_a_model_is_loaded_with_another_protocol(evaluated_run: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    sliding = load_model(evaluated_run, trust=["tests"], protocol=Protocol("mine", window=32))
    assert (str(load_model(evaluated_run, trust=["tests"]).protocol), str(sliding.protocol)) == ("whole@1", "mine@1")
    scores = sliding.probabilities(rgb)
    assert scores.shape == (19, 50, 70)
    assert np.array_equal(sliding.predict(rgb), scores.argmax(0))
    assert load_model(evaluated_run, trust=["tests"], protocol="sliding_768").protocol.window == (768, 768)
    with pytest.raises(ConfigurationError, match="whole_flip"):
        load_model(evaluated_run, trust=["tests"], protocol="wole")


def command(name: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command as a user types it, who has the backbone of these tests on the path."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", f"pin_memory.{name}", *overrides],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def test_help_of_compare_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['x', '--help']; import pin_memory.compare as c; c.main()"
    blocked = "import sys; sys.modules['torch'] = None; " + code
    done = subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("Examples")[2].count("pin-memory compare") >= 3
    assert not list(tmp_path.iterdir())


def test_several_checkpoints_next_to_an_earlier_run(evaluated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is none of the checkpoints gives the gains and has a row of its own; each checkpoint is loaded once, with its data."""
    calls: Counter[str] = Counter()
    for module, name in ((checkpoints, "load_method"), (build, "build_data")):
        monkeypatch.setattr(module, name, functools.partial(counted, calls, getattr(module, name)))
    shutil.copytree(evaluated_run, tmp_path / "earlier", ignore=shutil.ignore_patterns("wandb"))
    best, last = (evaluated_run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    found = run(tmp_path / "out", evaluated_run, f"checkpoint=[{best},{last}]", f"baseline={tmp_path / 'earlier'}", "tables=[]")
    assert calls == {"load_method": 2, "build_data": 2}
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["label"].rpartition("/")[2] for row in comparison["rows"]] == ["earlier", "best", "last"]
    for row, results in zip(comparison["rows"][1:], found, strict=True):
        for name, gain in results["gain"]["targets"].items():
            assert row["gain"]["targets"][name]["miou"]["mean"] == pytest.approx(gain["miou"])
        assert row["gain"]["mean_miou"]["mean"] == pytest.approx(results["gain"]["mean_miou"])


def counted(calls: Counter[str], function: Callable[..., Any], *args: Any) -> Any:
    """Count a call and make it."""
    calls[function.__name__] += 1
    return function(*args)


@pytest.mark.parametrize("method", sorted(path.stem for path in (config_directory() / "method").glob("*.yaml")))
def test_every_method_is_given_the_protocol(method: str) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=multi_source_gs", f"method={method}", "protocol=released", "paths.run=x"])
    assert instantiate(cfg.method.protocol) == find_protocol("released")
