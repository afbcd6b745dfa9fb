"""`analyze` as a user types it: figures and numbers of a run, what it leaves out, and mistakes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import pin_memory.analyze
from pin_memory.analysis import activation_maps, class_features, domain_distances, load_subject, memory_similarity
from pin_memory.analysis.run import analyze as work
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import UserError
from pin_memory.utils.traces import read_trace
from tests.helpers.in_process import run_in_process
from tests.helpers.untrained_run import TRUST, write_untrained

Analyze = Callable[..., str]

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str]) -> Analyze:
    """A function that runs the command in a folder, in this process; what it prints, on stderr where it is to fail, never a traceback."""

    def run(cwd: Path, *overrides: str, code: int = 0) -> str:
        found, out, errors = run_in_process(pin_memory.analyze.main, list(overrides), cwd, capsys)
        assert found == code, errors + out
        assert "Traceback" not in errors
        return errors if code else out

    return run


@pytest.fixture(scope="module")
def moved(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run, next to a copy of its data."""
    root = tmp_path_factory.mktemp("moved")
    shutil.copytree(trained_run.parents[1] / "stand_ins", root / "data")
    shutil.copytree(trained_run, root / "run", ignore=shutil.ignore_patterns("wandb", "panels"))
    return root / "run"


@pytest.mark.slow
def test_a_run_leaves_a_trace_of_its_memory(trained_run: Path) -> None:
    trace = read_trace(trained_run)
    assert trace is not None
    steps, items = trace
    assert steps.tolist() == [0, 1, 2, 3]
    last = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["network.memory.items"]
    np.testing.assert_array_equal(items[-1], last.numpy())
    assert items[0].any()  # the memory was initialised before it was recorded


@pytest.mark.slow
def test_everything_that_a_run_can_have(analyze: Analyze, moved: Path, tmp_path: Path) -> None:
    """By default; the data lie elsewhere, nothing is written there."""
    data = moved.parent / "data"
    before = sorted(data.rglob("*"))
    said = analyze(tmp_path, f"checkpoint={moved}", f"paths.data={data}", "images=2", "device=cpu", "formats=[png]")
    (folder,) = (tmp_path / "runs" / "analysis").iterdir()
    names = {path.name for path in folder.iterdir()} - {".hydra", "log.txt", ".lock"}
    domains, targets = ("gtav", "synthia", "idd", "cityscapes", "bdd100k", "mapillary"), ("cityscapes", "bdd100k", "mapillary")
    expected = {"similarity", "drift", "calibration", "distance", "distance_pairs", "tsne"}
    expected |= {f"activation_{name}" for name in domains} | {f"confusion_{name}" for name in targets}
    assert names == {f"{name}.png" for name in expected} | {"analysis.json"}
    assert "Left out  gain: no baseline" in said
    assert "Left out  structure: it was trained without text" in said
    for name in names:
        assert str(folder / name) in said
    assert sorted(data.rglob("*")) == before

    report = json.loads((folder / "analysis.json").read_text())
    assert report["stand_in"]
    assert report["sources"] == dict.fromkeys(domains[:3], 1)  # the run validates on one image of each
    assert report["targets"] == dict.fromkeys(targets, 2)
    assert {file for files in report["figures"].values() for file in files} == names - {"analysis.json"}
    check_numbers(report, moved, data)


def check_numbers(report: dict[str, Any], run: Path, data: Path) -> None:
    """The numbers are those of the functions, and of the run."""
    subject = load_subject(run, images=2, data=data)
    features = {name: class_features(subject.network, batches) for name, batches in subject.domains.items()}
    for which in ("before", "after"):
        overall = domain_distances(features, which).overall()
        assert report["plots"]["distance"][which]["overall"]["ratio"] == pytest.approx(overall["ratio"], rel=1e-5)
    items = subject.network.require_memory().items
    np.testing.assert_allclose(np.array(report["plots"]["similarity"]["cosine"], float), memory_similarity(items), atol=1e-6)
    with np.load(run / "confusions.npz") as kept:
        for target, found in report["plots"]["confusion"].items():
            assert np.array_equal(found["pixels"], kept[target])


@pytest.mark.slow
def test_gain_over_another_run(analyze: Analyze, moved: Path, tmp_path: Path) -> None:
    """Chosen plots, one domain, both formats; results of the same checkpoint with one class changed by hand."""
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    results = json.loads((moved / "results.json").read_text())
    road = results["targets"]["cityscapes"]["iou"]["road"]
    results["targets"]["cityscapes"]["iou"]["road"] = road - 0.25
    (baseline / "results.json").write_text(json.dumps(results))
    chosen = ["plots=[gain,confusion]", "domains=bdd100k", "images=1", "hydra.run.dir=out"]
    analyze(tmp_path, f"checkpoint={moved}", f"paths.data={moved.parent / 'data'}", f"baseline={baseline}", *chosen)
    report = json.loads((tmp_path / "out" / "analysis.json").read_text())
    points = report["plots"]["gain"]["points"]
    assert points["cityscapes"]["road"] == pytest.approx(25)
    assert points["bdd100k"]["road"] == 0
    assert set(report["plots"]) == {"gain", "confusion"}
    figures = {path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".png", ".pdf")}
    assert figures == {"gain.png", "gain.pdf", "confusion_bdd100k.png", "confusion_bdd100k.pdf"}


@pytest.fixture(scope="module")
def bare(moved: Path) -> Path:
    """A checkpoint of a network without memory, in no run folder."""
    checkpoint = torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)
    record = checkpoint["pin_memory"]["config"]
    record["method"] = {key: value for key, value in record["method"].items() if key in ("network", "optimizer", "schedule")}
    record["method"]["_target_"] = "pin_memory.methods.ERM"
    record["network"]["memory"] = None
    kept = {name: value for name, value in checkpoint["state_dict"].items() if ".memory." not in name}
    path = moved.parent / "erm.ckpt"
    torch.save(checkpoint | {"state_dict": kept}, path)
    return path


@pytest.mark.slow
def test_a_network_without_memory_has_the_other_plots(analyze: Analyze, bare: Path, tmp_path: Path) -> None:
    """Confusions are counted on the images at hand: the file has no run folder."""
    options = [f"checkpoint={bare}", f"paths.data={bare.parent / 'data'}", "images=1", "formats=png", "domains=[gtav,bdd100k]"]
    said = analyze(tmp_path, *options, "hydra.run.dir=out")
    report = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert set(report["skipped"]) == {"gain", "similarity", "structure", "drift", "activation", "prototypes", "reliability"}
    assert "Left out  similarity: method=erm has no memory" in said
    assert set(report["plots"]) == {"confusion", "calibration", "distance", "tsne"}
    assert set(report["plots"]["distance"]) == {"before"}
    assert report["plots"]["confusion"]["bdd100k"]["from"] == "1 images, whole@1"
    (layout,) = report["plots"]["tsne"].values()
    assert layout["perplexity"] == pytest.approx((layout["points"] - 1) / 3)  # so few that the 30 of the settings were not used
    assert sum(map(sum, report["plots"]["confusion"]["bdd100k"]["pixels"])) > 1000
    assert "no memory" in refused(tmp_path, *options[:3], "plots=[drift]")


@pytest.mark.slow
def test_the_items_of_a_head_that_is_solved(analyze: Analyze, evaluated_run: Path, tmp_path: Path) -> None:
    """Of a ridge memory: cosines of its rows, how they moved, where a class scores, and features that become scores when it is read."""
    run = write_untrained(tmp_path / "run", "method=meta_seg_net_dg")
    items = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["network.memory.items"].numpy()
    assert items.shape == (19, 17), "a bias is the last of a row"
    np.savez(run / "memory_trace.npz", step=np.array([0, 3]), items=np.stack([np.roll(items, 1, axis=0), items]))
    chosen = ["plots=[similarity,drift,activation,tsne]", "domains=[gtav,bdd100k]", "images=2", "formats=png", TRUST]
    analyze(tmp_path, f"checkpoint={run}", f"paths.data={evaluated_run / 'data'}", *chosen, "hydra.run.dir=out")
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"similarity.png", "drift.png", "activation_gtav.png", "activation_bdd100k.png", "tsne.png"}
    report = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (report["method"], report["skipped"]) == ("meta_seg_net_dg", {})
    expected = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in items] for a in items]
    np.testing.assert_allclose(np.array(report["plots"]["similarity"]["cosine"], float), expected, atol=1e-5)
    first = report["plots"]["drift"]["first_to_final"]
    np.testing.assert_allclose(list(first.values()), [expected[k - 1][k] for k in range(19)], atol=1e-5)
    assert set(report["plots"]["tsne"]) == {"before", "after"}

    network = load_subject(run, trust=["tests"], images=1, data=evaluated_run / "data").network
    image = torch.rand(3, 32, 48)
    with torch.no_grad():
        features = network.encode(image[None]).features
    cells = features[0].permute(1, 2, 0).numpy()
    scores = np.array([[[10 * (row[:-1] @ cell + row[-1]) for cell in line] for line in cells] for row in items])
    np.testing.assert_allclose(activation_maps(network, image, scores.shape[1:]), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["plots=[tsnee]"], ["tsnee", "similarity"]),
        (["formats=[gif]"], ["gif", "pdf"]),
        (["formats=[]"], ["formats"]),
        (["images=0"], ["images=0"]),
        (["perplexity=0"], ["perplexity"]),
        (["seed=-1"], ["seed"]),
        (["domains=[kitti]"], ["kitti", "mapillary"]),
        (["plots=[gain]"], ["baseline"]),
        (["baseline=nowhere"], ["nowhere", "results.json"]),
        (["plots=[distance]", "domains=[gtav]"], ["two domains"]),
        (["device=tpu"], ["tpu", "cpu"]),
        (["paths.data=nowhere"], ["nowhere", "gtav", "mapillary"]),
    ],
)
def test_mistakes(evaluated_run: Path, tmp_path: Path, overrides: list[str], expected: list[str]) -> None:
    """One message that names what to fix."""
    message = refused(tmp_path, f"checkpoint={evaluated_run}", f"paths.data={evaluated_run / 'data'}", TRUST, *overrides)
    for words in expected:
        assert words in message


def refused(folder: Path, *overrides: str) -> str:
    """What the command says, called in this process: a start of Python for each mistake would take minutes."""
    cfg = OmegaConf.load(config_directory() / "analyze.yaml")
    given = OmegaConf.from_dotlist(list(overrides))
    with pytest.raises(UserError) as caught:
        work(OmegaConf.merge(cfg, {"paths": {"run": str(folder), "output": str(folder)}}, given))  # type: ignore[arg-type]
    return str(caught.value)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "missing.ckpt" in refused(tmp_path, "checkpoint=missing.ckpt")


def test_help_has_three_examples(analyze: Analyze, tmp_path: Path) -> None:
    said = analyze(tmp_path, "--help")
    assert said.partition("Examples")[2].count("pin-memory analyze") >= 3
    assert not list(tmp_path.iterdir())
