"""The commands as a user types them: train, evaluate, predict, and mistakes."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pin_memory import load_model
from pin_memory.domains.stand_ins.writers import StandIns
from tests.helpers.in_process import run_in_process
from tests.helpers.tiny_run import SAID, TINY

Mistake = Callable[..., str]

pytestmark = pytest.mark.slow


def command(name: str, *overrides: str, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `cwd` and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", f"pin_memory.{name}", *overrides],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def trained(trained_run: Path) -> Path:
    """The run folder of a tiny demo, trained from a foreign folder with W&B offline."""
    said = (trained_run.parents[2] / SAID).read_text()
    for expected in ("RANDOM weights", "STAND-IN", "mIoU", "untrained network", "most frequent class", str(trained_run / "results.json")):
        assert expected in said
    assert "Traceback" not in said
    return trained_run


def test_a_run_folder_is_complete(trained: Path) -> None:
    """Settings, provenance, metrics, checkpoints, results, panels, log, offline W&B run; nothing half-written."""
    names = {path.name for path in trained.iterdir()}
    expected = {"config.yaml", "provenance.json", "metrics.csv", "checkpoints", "results.json", "panels", "log.txt", "wandb"}
    assert expected <= names
    assert list((trained / "wandb").glob("offline-run-*"))
    assert len(list((trained / "panels").glob("*.jpg"))) == 6
    assert not [path for path in trained.rglob(".*") if path.suffix in (".ckpt", ".json", ".jpg", ".csv")]
    results = json.loads((trained / "results.json").read_text())
    assert results["stand_in"]
    assert set(results["floors"]) == {"untrained network", "most frequent class", "most frequent class at each place"}
    for target in results["targets"].values():
        known = [value for value in target["iou"].values() if value is not None]
        assert target["miou"] == pytest.approx(sum(known) / len(known))
    assert results["mean_miou"] == pytest.approx(sum(t["miou"] for t in results["targets"].values()) / 3)


def test_evaluate_repeats_the_results_of_the_run(trained: Path, tmp_path: Path) -> None:
    """From the run folder, with the data moved elsewhere, one target chosen."""
    moved = tmp_path / "moved"
    shutil.copytree(trained.parents[1] / "stand_ins", moved)
    command("evaluate", f"checkpoint={trained}", f"paths.data={moved}", "accelerator=cpu", cwd=tmp_path)
    (folder,) = (tmp_path / "runs" / "evaluation").iterdir()
    again, before = (json.loads((path / "results.json").read_text()) for path in (folder, trained))
    assert again["targets"] == before["targets"]
    assert again["images_seen"] == before["images_seen"]
    assert len(list((folder / "panels").iterdir())) == 6

    done = command("evaluate", f"checkpoint={trained / 'checkpoints' / 'last.ckpt'}", "targets=[bdd100k]", "accelerator=cpu", cwd=tmp_path)
    assert "bdd100k" in done.stdout
    assert "mapillary" not in done.stdout


def test_predict_and_load_model_agree(trained: Path, tmp_path: Path) -> None:
    """A folder of images; the mask of the command is that of `load_model(...).predict`."""
    images = sorted((trained.parents[1] / "stand_ins" / "cityscapes").rglob("*_leftImg8bit.png"))[:2]
    (tmp_path / "in").mkdir()
    for path in images:
        shutil.copy(path, tmp_path / "in")
    command("predict", f"checkpoint={trained}", "input=in", "output=out", cwd=tmp_path)
    model = load_model(trained)
    for path in images:
        mask = cv2.imread(str(tmp_path / "out" / f"{path.stem}_trainids.png"), cv2.IMREAD_UNCHANGED)
        rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, model.predict(rgb))
        assert (tmp_path / "out" / f"{path.stem}_color.png").is_file()
        assert list((tmp_path / "out").glob(f"{path.stem}_overlay.*"))


@pytest.fixture
def mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Mistake:
    """A function that runs a command in `tmp_path`, in this process, and returns its one message."""

    def run(name: str, *overrides: str) -> str:
        main = importlib.import_module(f"pin_memory.{name}").main
        code, _, said = run_in_process(main, list(overrides), tmp_path, capsys)
        assert code == 2, said
        assert "Traceback" not in said
        return said

    return run


def test_all_missing_data_sets_are_reported_at_once(tmp_path: Path, mistake: Mistake) -> None:
    """Folders that are not there, at once; of empty ones each data set with its tree and where to get it, and the demo command."""
    names = ("gtav", "synthia", "idd", "cityscapes", "bdd100k", "mapillary")
    for place in (tmp_path / "nowhere", tmp_path):
        message = mistake("train", "experiment=multi_source_gsi", f"paths.data={place}")
        for expected in ("no such folder", *names, "experiment=demo"):
            assert expected in message
    for name in names:
        (tmp_path / name).mkdir()
    message = mistake("train", "experiment=multi_source_gsi", f"paths.data={tmp_path}")
    for expected in (*names, "leftImg8bit", "experiment=demo"):
        assert expected in message
    assert "pretrained" not in message


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small stand-ins to be spoilt; tests copy what they spoil."""
    root = tmp_path_factory.mktemp("sets") / "data"
    StandIns(root, images_per_domain=8, seed=2, width=160).prepare()
    return root


@pytest.mark.parametrize("fault", ["empty folder", "no label", "size", "truncated"])
def test_invalid_data_is_reported(sets: Path, tmp_path: Path, mistake: Mistake, fault: str) -> None:
    """Whatever is wrong with a data set names the file or folder."""
    root = tmp_path / "data"
    shutil.copytree(sets, root)
    labels = sorted((root / "gtav" / "labels").iterdir())
    if fault == "empty folder":
        for path in (root / "gtav" / "images").iterdir():
            path.unlink()
    elif fault == "no label":
        labels[0].unlink()
    for path in labels:
        if fault == "size":
            cv2.imwrite(str(path), np.zeros((10, 10), np.uint8))
        elif fault == "truncated":
            path.write_bytes(path.read_bytes()[:60])
    overrides = [o for o in TINY if "stand_in" not in o] + [
        "network=deeplab_v3plus_resnet18",
        "network.backbone.pretrained=null",
        "logger=csv",
    ]
    for workers in (0, 1):
        message = mistake("train", "experiment=multi_source_gs", *overrides, f"loading.num_workers={workers}", f"paths.data={root}")
        assert str(root / "gtav") in message
        assert len(message.splitlines()) < 40


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["experiment=demos"], "multi_source_gsi"),  # Hydra's choices
        (["experiment=demo", "lerning_rate=1"], "lerning_rate"),
        (["experiment=demo", "method.inner=1"], "There is no setting method.inner"),
        (["experiment=demo", "network.backbone.depth=20"], "18"),
        (["experiment=demo", "network.backbone.pretrained=missing.pth"], "pretrained=null"),
        (["experiment=demo", "~data.sources.synthia", "~data.sources.idd"], "at least two"),
        (["experiment=demo", "loading.batch_size=1"], "batch_size"),
        (["experiment=demo", "network.memory.channels=7"], "channels"),
        (["experiment=demo", "selection=target"], "selection"),
        (["experiment=demo", "resume=missing.ckpt"], "missing.ckpt"),
        (["experiment=camvid_leave_one_out", "target=0001XX"], "0016E5"),
        (["experiment=demo", "paths.output=/dev/null/runs"], "/dev/null"),
    ],
)
def test_mistakes_in_settings(mistake: Mistake, overrides: list[str], expected: str) -> None:
    """One message that names what to fix."""
    given = {override.partition("=")[0] for override in overrides}
    tiny = [o for o in TINY if o.partition("=")[0] not in given] if "experiment=demo" in overrides else []
    assert expected in mistake("train", *tiny, *overrides)


@pytest.mark.parametrize("kind", ["missing", "folder", "truncated", "foreign"])
@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_checkpoints_that_are_none(trained: Path, tmp_path: Path, mistake: Mistake, name: str, kind: str) -> None:
    """No file, a folder without run, half a file, a file of others."""
    path = tmp_path / "x.ckpt"
    (tmp_path / "image.png").write_bytes(next((trained.parents[1] / "stand_ins" / "gtav" / "images").iterdir()).read_bytes())
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        whole = (trained / "checkpoints" / "last.ckpt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "foreign":
        np.savez(path.with_suffix(".npz"), a=np.zeros(3))
        path.with_suffix(".npz").rename(path)
    more = ["input=image.png", "output=out"] if name == "predict" else []
    assert "x.ckpt" in mistake(name, f"checkpoint={path}", *more)
