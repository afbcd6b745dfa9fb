"""Training on two processes through the command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pin_memory.runs.image_scores import IMAGES, read_image_scores
from tests.helpers.tiny_run import TINY, train_tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DDP = ["trainer=ddp", "trainer.devices=2", "loading.max_val_images=2", "loading.max_test_images=3", "logger=csv", "floors=false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny demo trained by two processes that Lightning starts."""
    return train_tiny(tmp_path_factory.mktemp("ddp"), *DDP, "floors=true")


def test_two_processes_make_one_run(run: Path) -> None:
    """Both processes' images count, one of them writes, and no image is evaluated twice or left out."""
    results = json.loads((run / "results.json").read_text())
    assert results["images_seen"] == 2 * 3 * 2 * 2  # steps up to the validation that the checkpoint is of, domains, images, processes
    assert sorted(path.name for path in run.parent.iterdir()) == [run.name]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.evaluate", f"checkpoint={run}", "accelerator=cpu", "floors=true", "hydra.run.dir=alone"],
        cwd=run, capture_output=True, text=True, timeout=300, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = json.loads((run / "alone" / "results.json").read_text())
    assert {name: target["iou"] for name, target in alone["targets"].items()} == {
        name: target["iou"] for name, target in results["targets"].items()
    }
    assert len(results["floors"]) == 3
    assert results["floors"] == alone["floors"], "the images of the floors are shared out, too"
    with np.load(run / "confusions.npz") as together, np.load(run / "alone" / "confusions.npz") as single:
        assert set(together) == set(results["targets"])
        for target in together:
            assert np.array_equal(together[target], single[target])
    assert (run / IMAGES).read_text() == (run / "alone" / IMAGES).read_text()
    assert {name: len(images) for name, images in read_image_scores(run).items()} == {
        name: target["images"] for name, target in results["targets"].items()
    }


@pytest.mark.parametrize("iterations", [20, pytest.param(50, marks=pytest.mark.reliability)])
def test_processes_of_torchrun_learn_the_same(tmp_path: Path, iterations: int) -> None:
    """Bitwise equal parameters, memory and whitening masks over the steps on different images; one run folder, one results file."""
    callback = f"+callbacks.fingerprints={{_target_:tests.helpers.agreement.Fingerprints,folder:{tmp_path / 'prints'},every:5}}"
    whitening = ["+whitening=isw", "method.whitening.warmup_iterations=10", "method.whitening.images=8", "method.whitening.trials=2"]
    steps = [f"trainer.max_steps={iterations}", f"trainer.val_check_interval={iterations}", "augmentation.crop_size=32"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pin_memory.train"]
    done = subprocess.run(
        [*command, "experiment=demo", *TINY, *DDP, *whitening, *steps, "callbacks.panels=null", "hydra.run.dir=run", callback],
        cwd=tmp_path, capture_output=True, text=True, timeout=400, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / "prints" / f"{rank}.txt").read_text().splitlines() for rank in range(2))
    assert first == second
    assert [line.split()[0] for line in first] == [str(step) for step in range(5, iterations + 1, 5)]
    assert len({line.split()[1] for line in first}) == iterations // 5
    assert [line.split()[2] for line in first] == ["0"] * 2 + ["3"] * (iterations // 5 - 2), (
        "the covariances are chosen after ten iterations"
    )
    assert json.loads((tmp_path / "run" / "results.json").read_text())["images_seen"] == iterations * 3 * 2 * 2
    assert done.stdout.count("Initialising the memory") <= 1


@pytest.mark.reliability
def test_ctrl_c_to_the_first_process_ends_all(tmp_path: Path) -> None:
    """Its last checkpoint is written without waiting for the other, which may be anywhere."""
    long = [setting for setting in TINY if not setting.startswith(("trainer.max_steps", "trainer.val_check"))]
    settings = ["experiment=demo", *long, *DDP, "trainer.max_steps=2000", "trainer.val_check_interval=1000", "hydra.run.dir=run"]
    with (tmp_path / "said.txt").open("w") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "pin_memory.train", *settings, "trainer.log_every_n_steps=1", "logger.csv.flush_every=1"],
            cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: (tmp_path / "run" / "metrics.csv").is_file(), run)
        run.send_signal(signal.SIGINT)
        assert run.wait(120) == 130, (tmp_path / "said.txt").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert (tmp_path / "said.txt").read_text().count("Stopped by Ctrl-C") == 1


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    """Wait until something has happened, at most so long, and no longer than the process lives."""
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def test_too_few_images_for_the_processes_are_reported_before_training(tmp_path: Path) -> None:
    """And nothing is left behind but what Hydra makes."""
    command = [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, *DDP, "loading.max_test_images=1", "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 2
    assert "1 test images cannot be shared out to 2 devices" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_sweep_on_several_devices_is_refused(tmp_path: Path) -> None:
    """The processes that Lightning starts would run the sweep again."""
    command = [sys.executable, "-m", "pin_memory.train", "-m", "experiment=demo", *TINY, *DDP, "seed=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 2
    assert "A sweep trains on one device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("checkpoints"))
