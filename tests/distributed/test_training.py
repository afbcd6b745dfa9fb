"""Training on two processes through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_run import TINY, train_tiny

DDP = ["trainer=ddp", "trainer.devices=2", "loading.max_val_images=2", "loading.max_test_images=3", "logger=csv", "floors=false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny demo trained by two processes that Lightning starts."""
    return train_tiny(tmp_path_factory.mktemp("ddp"), *DDP)


@pytest.mark.slow
def test_two_processes_make_one_run(run: Path) -> None:
    """Both processes' images count, one of them writes, and no image is judged twice or left out."""
    results = json.loads((run / "results.json").read_text())
    assert results["images_seen"] == 2 * 3 * 2 * 2  # steps up to the validation that the checkpoint is of, domains, images, processes
    assert sorted(path.name for path in run.parent.iterdir()) == [run.name]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.evaluate", f"checkpoint={run}", "accelerator=cpu", "hydra.run.dir=alone"],
        cwd=run, capture_output=True, text=True, timeout=300, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = json.loads((run / "alone" / "results.json").read_text())
    assert {name: target["iou"] for name, target in alone["targets"].items()} == {
        name: target["iou"] for name, target in results["targets"].items()
    }
    with np.load(run / "confusions.npz") as together, np.load(run / "alone" / "confusions.npz") as single:
        assert set(together) == set(results["targets"])
        for target in together:
            assert np.array_equal(together[target], single[target])


def test_a_sweep_on_several_devices_is_refused(tmp_path: Path) -> None:
    """The processes that Lightning starts would run the sweep again."""
    command = [sys.executable, "-m", "pin_memory.train", "-m", "experiment=demo", *TINY, *DDP, "seed=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 2
    assert "A sweep trains on one device" in done.stderr
    assert "Traceback" not in done.stderr
