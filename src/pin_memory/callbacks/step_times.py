"""How long an iteration takes, and how much of that it waits for its images."""

import time
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer


class Lap(NamedTuple):
    """What some iterations took.

    Attributes:
        steps: Iterations.
        stepping: Seconds in their training steps.
        waiting: Seconds waited for their images; None where the data module does not count them.
    """

    steps: int
    stepping: float
    waiting: float | None

    @property
    def share(self) -> float | None:
        """Share of the waiting, 0..1."""
        total = self.stepping + (self.waiting or 0.0)
        return None if self.waiting is None or total <= 0 else self.waiting / total


class IterationTimer:
    """Times training steps from when their batch is there to their end, and reads what the data module has waited for.

    What lies between (validation, checkpoints, logging, Lightning itself) belongs to neither. On a GPU the step's time is that of the host,
    which runs ahead until something makes it wait for the device: no synchronisation is added to measure it.
    """

    def __init__(self) -> None:
        self._steps, self._stepping = 0, 0.0
        self._began: float | None = None
        self._waited_before: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """A batch is there. The wait for the very first one does not count: the loading processes start in it."""
        if self._steps == 0 and self._began is None:
            self._waited_before = _waited(trainer)
        self._began = time.perf_counter()

    def end(self) -> None:
        """Its step is done."""
        if self._began is not None:
            self._steps, self._stepping = self._steps + 1, self._stepping + time.perf_counter() - self._began

    def lap(self, trainer: Trainer) -> Lap:
        """The iterations since the last lap, or since the first step; the next lap starts."""
        waited = _waited(trainer)
        waiting = None if waited is None or self._waited_before is None else waited - self._waited_before
        lap = Lap(self._steps, self._stepping, waiting)
        self._steps, self._stepping, self._waited_before = 0, 0.0, waited
        return lap


class StepTimes(Callback):
    """Log `time/step` and `time/data_wait`: mean seconds of an iteration since the metrics were last logged.

    `time/step` is the training step itself, `time/data_wait` the wait for its images: decoding and augmentation as far as the loading
    processes do not keep up, and the transfer to the device. Their sum is an iteration without validation, checkpoints and logging. Of
    several processes the first one is timed; the others wait for it in the step.
    """

    def __init__(self) -> None:
        self._timer = IterationTimer()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._timer = IterationTimer()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The images are there."""
        self._timer.begin(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log when Lightning does: once in `trainer.log_every_n_steps`."""
        self._timer.end()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        if every > 0 and trainer.global_step % every == 0:
            lap = self._timer.lap(trainer)
            times = {"time/step": lap.stepping, "time/data_wait": lap.waiting}
            pl_module.log_dict({name: seconds / lap.steps for name, seconds in times.items() if seconds is not None})


def _waited(trainer: Trainer) -> float | None:
    """Seconds that training has waited for its images so far; None where the data module does not count them."""
    waiting = getattr(getattr(trainer, "datamodule", None), "waiting", None)
    return None if waiting is None else float(waiting.seconds)
