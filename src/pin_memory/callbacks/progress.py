"""One progress bar over all steps of a training, or lines where there is no terminal."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from pin_memory.callbacks.step_times import wait_share

_TOTALS = ("loss/inner", "loss/outer", "loss/total")
_BAR_SECONDS = 0.25  # between two updates of the bar


class TrainingProgress(TQDMProgressBar):
    """Lightning's bar, over all steps instead of one epoch, with the names of the evaluated domains.

    It shows the totals of the loss, the newest validation score and `data wait`, the share of an iteration that waits for its images: if
    that is not near zero, more loading processes (`loading.num_workers`) help. Where the standard output is no terminal (a log file, a
    batch job), a line is printed on the error stream at most every `line_seconds` instead; that of a validation has all loss terms.

    Args:
        line_seconds: Seconds between two lines where there is no terminal.
    """

    def __init__(self, line_seconds: float = 10.0) -> None:
        super().__init__()
        self.line_seconds = line_seconds
        self._first_step, self._started, self._shown = 0, 0.0, 0.0

    @property
    def is_disabled(self) -> bool:
        """Whether no bar is drawn: on all ranks but the first, and where nobody watches."""
        return super().is_disabled or not sys.stdout.isatty()

    def init_train_tqdm(self) -> Tqdm:
        """Open the bar of all steps, at the step that training starts or resumes from."""
        bar = super().init_train_tqdm()
        bar.set_description("training")
        bar.total = _total_steps(self.trainer)
        bar.initial = bar.n = self.trainer.global_step
        return bar

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | dict[str, float]]:
        """Return what is shown behind the bar."""
        return dict(_metrics(trainer, _TOTALS))

    def on_train_start(self, *arguments: Any) -> None:
        """Open the bar, or say what begins."""
        super().on_train_start(*arguments)
        self._first_step, self._started = self.trainer.global_step, 0.0
        resumed = f", resumed from step {self._first_step}" if self._first_step else ""
        self._print_line(f"training: {_total_steps(self.trainer)} steps{resumed}")

    def on_train_epoch_start(self, *arguments: Any) -> None:
        """Keep the bar: it is over all steps."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time from the first step on: before it, the method may have read all sources to initialise its memory."""
        if not self._started:
            self._started = self._shown = time.monotonic()
            if not self.train_progress_bar.disable:
                self.train_progress_bar.unpause()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show the step if it is time to: reading the losses of a device waits for it."""
        now, last = time.monotonic(), trainer.global_step == _total_steps(trainer)
        if not self.train_progress_bar.disable and (last or now - self._shown >= _BAR_SECONDS):
            self._shown = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)
        elif self.train_progress_bar.disable and (last or now - self._shown >= self.line_seconds) and not _validation_follows(trainer):
            self._print_step(trainer, _metrics(trainer, _TOTALS))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Name the source that is validated on."""
        super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        if batch_idx == 0:
            self.val_progress_bar.set_description(f"validating on {_domain(trainer, 'validation_names', dataloader_idx)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the score."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._print_step(trainer, _metrics(trainer, tuple(name for name in trainer.callback_metrics if name.startswith("loss/"))))

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Name the target that is tested on."""
        super().on_test_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        if batch_idx == 0:
            title = f"testing on {_domain(trainer, 'test_stages', dataloader_idx)}"
            self.test_progress_bar.set_description(title)
            unit = getattr(getattr(trainer, "datamodule", None), "unit", "images")
            self._print_line(f"{title}: {self.total_test_batches_current_dataloader} {unit}")

    def _print_step(self, trainer: Trainer, metrics: dict[str, str]) -> None:
        """Print the step, the rate, the time left and the metrics, where there is no bar."""
        self._shown = time.monotonic()
        step, total = trainer.global_step, _total_steps(trainer)
        done, seconds = step - self._first_step, self._shown - self._started
        rate = ""
        if done > 0 and seconds > 0:
            rate = f"  {done / seconds:.{1 if done > seconds else 2}f} it/s  {describe_seconds((total - step) * seconds / done)} left"
        self._print_line(f"step {step}/{total}{rate}  " + ", ".join(f"{name} {value}" for name, value in metrics.items()))

    def _print_line(self, text: str) -> None:
        """Print a line at once, also into a file or a pipe; nothing where a bar is drawn or this is not the first process."""
        if self.is_enabled and not sys.stdout.isatty():
            print(text, file=sys.stderr, flush=True)


def describe_seconds(seconds: float) -> str:
    """Write a duration with its two largest units.

    Example:
        >>> describe_seconds(130)
        '2 min 10 s'
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def _metrics(trainer: Trainer, losses: tuple[str, ...]) -> dict[str, str]:
    """Return the newest values of the named losses, the validation score and the share of waiting."""
    shown = {name: trainer.callback_metrics[name] for name in (*losses, "val/miou") if name in trainer.callback_metrics}
    metrics = {name.replace("/", " "): _shown(name, float(value)) for name, value in shown.items()}
    share = wait_share(trainer)
    return metrics if share is None else metrics | {"data wait": f"{100 * share:.0f} %"}


def _shown(name: str, value: float) -> str:
    """A loss with three significant digits, a score in percent, as all that people read."""
    return f"{100 * value:.1f} %" if name.startswith("val/") else f"{value:#.3g}".rstrip(".")


def _validation_follows(trainer: Trainer) -> bool:
    """Return whether a validation comes after this step, which prints a line of its own."""
    return trainer.enable_validation and trainer.global_step % int(trainer.val_check_interval) == 0


def _total_steps(trainer: Trainer) -> int:
    """Return the optimiser steps of the training."""
    return int(trainer.max_steps)


def _domain(trainer: Trainer, attribute: str, index: int) -> str:
    """Return the name of an evaluated domain; its number where the data module has no names."""
    names = getattr(getattr(trainer, "datamodule", None), attribute, None)
    return str(names[index]) if names else f"set {index}"
