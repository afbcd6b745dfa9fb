"""When memory, shared memory, a loading process or open files run out: what is said, which settings are named, the exit code."""

import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from pin_memory.callbacks import IterationNames
from pin_memory.cli.errors import Mistake, explain
from pin_memory.domains import FolderDataModule, Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ResourceError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for number in range(8):
            Image.new("L", (16, 16)).save(tmp_path / folder / f"{number}.png")
    return tmp_path


class Dying(FolderDomain):
    """Kills the process that reads a certain image, or has no memory for it."""

    def read_image(self, sample: Any) -> np.ndarray:
        if sample.name == "3":
            if os.environ["DYING"] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError
        return super().read_image(sample)


class DyingModule(FolderDataModule):
    reader = Dying


def message_of(root: Path, workers: int) -> Mistake:
    """What is said when image 3 is read in training."""
    plain = TrainTransform(16, (1.0, 1.0), 0.0, (0, 0, 0, 0), 0.0, None)
    loader = DyingModule(root, plain, Loading(batch_size=2, num_workers=workers)).train_dataloader("own")
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        sum(1 for _ in loader)  # not list(), which would make room for an endless loader
    mistake = explain(caught.value)
    assert mistake is not None
    return mistake


def test_a_killed_loading_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYING", "killed")
    message, code = message_of(root, workers=1)
    assert code == ResourceError.exit_code == 3
    for part in (
        "exited unexpectedly",
        "loading.num_workers",
        "loading.batch_size",
        "augmentation.crop_size",
        "While loading own, one of the samples",
    ):
        assert part in message or (part == "exited unexpectedly" and "is killed by signal" in message)
    due = message.rpartition("one of the samples ")[2].split(", ")
    assert "3" in due
    assert len(due) <= 4  # a process reads two batches ahead


@pytest.mark.parametrize("workers", [0, 1])
def test_no_memory_for_an_image(root: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYING", "memory")
    message, code = message_of(root, workers)
    assert code == ResourceError.exit_code
    for part in ("no memory is left for", "3.png", "loading.num_workers", "one of the samples "):
        assert part in message
    assert "Traceback" not in message
    assert "resume=" not in message


@pytest.mark.parametrize(("name", "offers_resumption"), [("train", True), ("predict", False), ("evaluate", False)])
def test_a_resumption_is_offered_in_training_alone(name: str, offers_resumption: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        settings = compose(name, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", settings)
    mistake = explain(MemoryError())
    assert mistake is not None
    assert ("resume=RUN" in mistake.message) == offers_resumption


def test_no_memory_for_a_tensor() -> None:
    """PyTorch's own error, raised for real."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    mistake = explain(caught.value)
    assert mistake is not None
    assert mistake.exit_code == ResourceError.exit_code
    assert "memory of this machine" in mistake.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total"), "trainer.precision=bf16-mixed"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.25 GiB."), "network.backbone.checkpointing=true"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "loading.batch_size"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "loading.batch_size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared"
                      " memory."), "--shm-size"),
        (RuntimeError("unable to write to file </torch_12_345_6>: No space left on device (28)"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), "loading.num_workers"),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), "signal: Killed"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "loading.num_workers"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (MemoryError(), "MemoryError"),
    ],
)  # fmt: skip
def test_what_is_said(error: Exception, expected: str) -> None:
    mistake = explain(error)
    assert mistake is not None
    assert expected in mistake.message
    assert mistake.exit_code == ResourceError.exit_code


def test_the_settings_that_are_named_exist() -> None:
    """What is advised can be typed."""
    from hydra import compose, initialize_config_dir

    from pin_memory.utils.config import config_directory

    advised = ["loading.batch_size=2", "augmentation.crop_size=512", "loading.num_workers=0", "trainer.precision=bf16-mixed"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        compose("train", ["experiment=multi_source_gsi", *advised, "network.backbone.checkpointing=true"])
        compose("evaluate", ["checkpoint=x", "protocol=sliding_768"])


@pytest.mark.parametrize(
    "error", [RuntimeError("the size of tensor a must match"), ValueError("shm"), KeyError("memory"), OSError(errno.EIO, "x")]
)
def test_what_is_about_something_else(error: Exception) -> None:
    mistake = explain(error)
    assert mistake is None or mistake.exit_code != ResourceError.exit_code


def test_the_iteration_is_named() -> None:
    """By the callback, through a trainer whose step runs out of memory."""
    from lightning import LightningModule, Trainer
    from torch.utils.data import DataLoader

    class Hungry(LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                torch.empty(10**16)

        def configure_optimizers(self) -> None:
            return None

    batches = [{"gtav": {"name": [f"g{n}", f"h{n}"]}, "synthia": {"name": [f"s{n}"] * 10}} for n in range(4)]
    loader: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[IterationNames()],
    )  # fmt: skip
    with pytest.raises(RuntimeError) as caught:
        trainer.fit(Hungry(), loader)
    mistake = explain(caught.value)
    assert mistake is not None
    assert "gtav: g2, h2; synthia: s2, s2" in mistake.message
    assert "and 2 more" in mistake.message


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="needs a limit on the address space")
def test_a_command_under_a_memory_limit(trained_run: Path, tmp_path: Path) -> None:
    """A picture that the memory does not suffice for: exit code 3 and what to lower, no traceback."""
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    importlib.import_module("torch")
    limit = 6 * 2**30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.predict", f"checkpoint={trained_run}", "input=large.png", "output=out", "device=cpu"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, preexec_fn=limited, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == ResourceError.exit_code, done.stderr
    assert "memory of this machine does not suffice" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.png"))
