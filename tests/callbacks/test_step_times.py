"""How long an iteration takes and how much of it is waiting, by a clock that moves only where the test says."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pin_memory.callbacks import AtomicCheckpointIO, LastCheckpoint, StepTimes, TrainingProgress, step_times
from pin_memory.loggers import CSVLogger
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer

LOADING, TRANSFER, STEP, VALIDATION, SAVING, START = 0.25, 0.125, 0.5, 64.0, 32.0, 1024.0


class Clock:
    """A `time` of its own."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the callback looks at."""
    clock = Clock()
    monkeypatch.setattr(step_times, "time", clock)
    return clock


class SlowImages(Dataset[Any]):
    """Vectors that take their time; the first one far longer."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.read = clock, 0

    def __len__(self) -> int:
        """More than there are steps."""
        return 1000

    def __getitem__(self, index: int) -> torch.Tensor:
        """Takes a while."""
        self.clock.now += LOADING if self.read else START
        self.read += 1
        return torch.ones(2)


class SlowDomains(TinyDomains):
    """Sources that training waits for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def train_dataloader(self) -> DataLoader:
        """One vector per batch."""
        return DataLoader(SlowImages(self.clock))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Takes a while."""
        self.clock.now += TRANSFER if self.trainer is not None and self.trainer.training else 0.0
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class SlowMethod(TinyMethod):
    """Steps and validation images that take their time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Takes a while."""
        super().training_step(batch, batch_idx)
        self.clock.now += STEP

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Takes far longer, and belongs to neither time."""
        self.clock.now += VALIDATION


def test_the_metrics_say_what_an_iteration_takes(tmp_path: Path, clock: Clock) -> None:
    """Every fifth iteration, means over five: exactly, without the first wait, all validations and slow checkpoints."""
    logger = CSVLogger(tmp_path / "metrics.csv")
    last = LastCheckpoint(tmp_path / "checkpoints", every=4)

    class SlowDisk(AtomicCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            super().save_checkpoint(*args, **kwargs)
            clock.now += SAVING

    trainer = tiny_trainer(tmp_path, [StepTimes(), last], logger=logger, log_every_n_steps=5, plugins=[SlowDisk()])
    assert step_times.step_costs(trainer) == {}
    trainer.fit(SlowMethod(clock), SlowDomains(clock))
    costs = step_times.step_costs(trainer)
    assert costs["step_seconds"] == STEP
    assert costs["peak_bytes"] > 50e6
    assert clock.now > 3 * VALIDATION + 5 * SAVING + START
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["time/step"]]
    assert [row["step"] for row in rows] == ["4", "9", "14", "19"]
    assert [float(row["time/step"]) for row in rows] == [STEP] * 4
    assert [float(row["time/data_wait"]) for row in rows] == [LOADING + TRANSFER] * 4


def test_pauses_that_were_for_something_else_give_no_time(tmp_path: Path, clock: Clock) -> None:
    logger = CSVLogger(tmp_path / "metrics.csv")
    callbacks = [StepTimes(), LastCheckpoint(tmp_path / "checkpoints", every=1)]
    tiny_trainer(tmp_path, callbacks, logger=logger, log_every_n_steps=5).fit(SlowMethod(clock), SlowDomains(clock))
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "time/step" in header
    assert "time/data_wait" not in header


def test_the_progress_says_the_share_of_the_wait(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    callbacks = [StepTimes(), TrainingProgress(line_seconds=0)]
    tiny_trainer(tmp_path, callbacks, log_every_n_steps=2).fit(SlowMethod(clock), SlowDomains(clock))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    share = (LOADING + TRANSFER) / (LOADING + TRANSFER + STEP)
    assert "data wait" not in lines[0]
    assert all(line.endswith(f", data wait {100 * share:.0f} %") for line in lines[2:])
