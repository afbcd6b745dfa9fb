"""How long an iteration takes and how much of it is waiting, by a clock that moves only where the test says."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import Precision
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from pin_memory.callbacks import StepTimes, TrainingProgress, step_times
from pin_memory.domains import MultiSourceDataModule
from pin_memory.domains.loading import waiting
from pin_memory.domains.loading.waiting import Stopwatch, TimedLoader
from pin_memory.loggers import CSVLogger
from pin_memory.methods import ERM
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer
from tests.helpers.tiny_run import SAID

LOADING, STEP, VALIDATION, START = 0.25, 0.5, 64.0, 1024.0


class Clock:
    """A `time` of its own."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that loaders and callbacks look at."""
    clock = Clock()
    for module in (waiting, step_times):
        monkeypatch.setattr(module, "time", clock)
    return clock


class SlowImages(Dataset[Any]):
    """Eight vectors that take their time; the first one far longer."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.read = clock, 0

    def __len__(self) -> int:
        """As many as `TinyDomains` has."""
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        """Takes a while."""
        self.clock.now += LOADING if self.read else START
        self.read += 1
        return torch.ones(2)


class SlowDomains(TinyDomains):
    """As `MultiSourceDataModule`, which counts what is waited for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.images, self.waiting = SlowImages(clock), Stopwatch()

    def train_dataloader(self) -> CombinedLoader:  # type: ignore[override]
        """Eight vectors, one per batch."""
        return TimedLoader(DataLoader(self.images), "max_size_cycle", self.waiting)


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
    """Every fifth iteration, means over five: exactly, with the first wait, all validations and passes of eight left out."""
    logger = CSVLogger(tmp_path / "metrics.csv")
    trainer = tiny_trainer(tmp_path, [StepTimes()], logger=logger, log_every_n_steps=5)
    trainer.fit(SlowMethod(clock), SlowDomains(clock))
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["time/step"]]
    assert [row["step"] for row in rows] == ["4", "9", "14", "19"]
    assert [float(row["time/step"]) for row in rows] == [STEP] * 4
    assert [float(row["time/data_wait"]) for row in rows] == pytest.approx([4 / 5 * LOADING, LOADING, LOADING, LOADING])


def test_the_progress_says_the_share_of_the_wait(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(tmp_path, [TrainingProgress(line_seconds=0)]).fit(SlowMethod(clock), SlowDomains(clock))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert all(f"left  data wait {100 * LOADING / (LOADING + STEP):.0f} %  loss inner" in line for line in lines[1:])
    assert "data wait 0 %" in lines[0], "the first step's images were there before anything was timed"


def test_other_data_modules_have_times_of_steps_alone(tmp_path: Path, clock: Clock) -> None:
    logger = CSVLogger(tmp_path / "metrics.csv")
    tiny_trainer(tmp_path, [StepTimes()], logger=logger, log_every_n_steps=5).fit(SlowMethod(clock), TinyDomains())
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "time/step" in header
    assert "time/data_wait" not in header


def test_a_pass_of_the_method_over_the_sources_is_not_waited_for(clock: Clock) -> None:
    """The initialisation of a memory, or of the whitening, reads images of its own."""
    data = SlowDomains(clock)
    sampler = DistributedSampler(data.images, num_replicas=1, rank=0)
    loader = TimedLoader(DataLoader(data.images, sampler=sampler), "max_size_cycle", data.waiting)
    datamodule = SimpleNamespace(train_dataloader=lambda: loader)
    method: Any = SimpleNamespace(trainer=SimpleNamespace(datamodule=datamodule, precision_plugin=Precision()))
    assert len(list(ERM.source_batches(method, 0))) == 8
    assert data.waiting.seconds == 0
    assert clock.now > START


@pytest.mark.parametrize("training", [True, False])
def test_the_transfer_counts_in_training_alone(training: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    data = MultiSourceDataModule()
    data.trainer = SimpleNamespace(training=training)  # type: ignore[assignment]

    class Batch:
        def to(self, device: torch.device, **options: Any) -> "Batch":
            clock.now += 2.0
            return self

    data.transfer_batch_to_device(Batch(), torch.device("cpu"), 0)
    assert clock.now == 2.0
    assert data.waiting.seconds == (2.0 if training else 0.0)


def test_the_sources_are_read_by_a_timed_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real data module's loader runs the stopwatch that the callbacks read."""

    class Slow:
        def __iter__(self) -> Iterator[int]:
            time.sleep(0.01)
            yield 1

        def __len__(self) -> int:
            return 1

    data = MultiSourceDataModule()
    data.sources = {"gtav": SimpleNamespace(augmentation=None, train_dataloader=lambda *_: Slow())}  # type: ignore[dict-item]
    assert next(iter(data.train_dataloader()))[0] == {"gtav": 1}
    assert data.waiting.seconds >= 0.01


def test_a_real_run_says_it(trained_run: Path) -> None:
    """The demo's progress lines."""
    assert "data wait " in (trained_run.parents[2] / SAID).read_text()
