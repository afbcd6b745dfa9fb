"""How long an iteration takes, how long training waits for the next one, and how much memory it needs."""

import time
from statistics import fmean, median
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.devices import forget_peak, peak_bytes

_STEP, _WAIT = "time/step", "time/data_wait"


class StepTimes(Callback):
    """Log `time/step` and `time/data_wait`: mean seconds of an iteration since the metrics were last logged.

    `time/step` is the training step itself, `time/data_wait` the time until the images of the next one are there: decoding and augmentation
    as far as the loading processes do not keep up, the transfer to the device, and a little that Lightning does in between. Pauses with a
    validation or a checkpoint are left out, and so is that before the first step, in which the loading processes start. On a GPU the step's
    time is that of the host, which runs ahead until something makes it wait for the device: no synchronisation is added to measure it. Of
    several processes the first one is timed; the others wait for it in the step.

    Attributes:
        steps: Seconds of each training step so far.
        peak_bytes: The most memory of the training, on the GPU or else resident in this process, without loading processes; None before
            its end, and where the system has no number.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {_STEP: [], _WAIT: []}  # since the last metrics
        self._began = 0.0
        self._ended: float | None = None  # None: the pause that follows does not count
        self.steps: list[float] = []
        self.peak_bytes: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._seconds, self._ended, self.steps = {_STEP: [], _WAIT: []}, None, []
        forget_peak(pl_module.device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the memory."""
        self.peak_bytes = peak_bytes(pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End the pause: the batch is there."""
        self._began = time.perf_counter()
        if self._ended is not None:
            self._seconds[_WAIT].append(self._began - self._ended)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the step, and log when Lightning does: once in `trainer.log_every_n_steps`."""
        self._ended = time.perf_counter()
        self.steps.append(self._ended - self._began)
        self._seconds[_STEP].append(self.steps[-1])
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        if every > 0 and trainer.global_step % every == 0:
            pl_module.log_dict({name: fmean(seconds) for name, seconds in self._seconds.items() if seconds})
            self._seconds = {_STEP: [], _WAIT: []}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the pause out."""
        self._ended = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave the pause out."""
        self._ended = None


def wait_share(trainer: Trainer) -> float | None:
    """Return the part of an iteration that was waiting for images, 0..1, as it was logged last; None where that is not known."""
    if not {_STEP, _WAIT} <= trainer.callback_metrics.keys():
        return None
    step, wait = (float(trainer.callback_metrics[name]) for name in (_STEP, _WAIT))
    return wait / (step + wait) if step + wait > 0 else None


def step_costs(trainer: Trainer) -> dict[str, Any]:
    """What an iteration took, for the results: `step_seconds`, the median, and `peak_bytes`; empty where none was made or timed."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StepTimes) and callback.steps:
            return {"step_seconds": median(callback.steps), "peak_bytes": callback.peak_bytes}
    return {}
