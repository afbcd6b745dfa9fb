"""One progress bar over the whole of training."""

import math
import sys
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.callbacks.step_times import wait_share


class TrainingProgress(ProgressBar):
    """Show the steps done, the iteration rate, the time left and the loss terms; not one bar per epoch.

    The time left includes the validations to come, as the rate is the mean since the first step began. The loss terms, and what is logged
    with `prog_bar=True`, stand on a line of their own below the bar: a terminal is rarely wide enough for both. Where the error stream is
    no terminal (a log file, a batch job), a line is printed every `line_seconds` instead. `data wait 3 %` is the share of the time that
    training waited for its images, as `StepTimes` measured it last: if it is not near zero, more loading processes (`loading.num_workers`)
    help.

    Args:
        line_seconds: Seconds between two lines where there is no terminal.
        bar_seconds: Seconds between two updates of the bar.
    """

    def __init__(self, line_seconds: float = 10.0, bar_seconds: float = 0.25) -> None:
        super().__init__()
        self.line_seconds = line_seconds
        self.bar_seconds = bar_seconds
        self._enabled = True
        self._clock = _Clock(0)
        self._bar: tqdm | None = None
        self._terms: tqdm | None = None
        self._evaluation: tqdm | None = None

    def disable(self) -> None:
        """Show nothing (Lightning calls this on all ranks but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without tearing the bar apart."""
        if self._enabled:
            tqdm.write(" ".join(map(str, args)), file=sys.stdout, **kwargs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step that training starts or goes on from."""
        self._clock = _Clock(trainer.global_step)
        total = _total_steps(trainer)
        if self._enabled and _is_terminal():
            self._bar = _open_bar("training", total, initial=trainer.global_step, unit="it")
            self._terms = tqdm(file=sys.stderr, dynamic_ncols=True, bar_format="{desc}", position=1)
        elif self._enabled:
            resumed = f", going on from step {trainer.global_step}" if trainer.global_step else ""
            _line(f"training: {total or 'unlimited'} steps{resumed}")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time from the first step on: before it, the method may have read all sources to initialise its memory."""
        if self._clock.start() and self._bar is not None:
            self._bar.unpause()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move on by one step; every iteration makes exactly one."""
        total = _total_steps(trainer)
        if self._clock.due(self.bar_seconds if self._bar is not None else self.line_seconds) or trainer.global_step == total:
            self._show(trainer, total)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation score."""
        self._close_evaluation()
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._show(trainer, _total_steps(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the finished bar before Lightning says why it stopped, on the same line otherwise."""
        if trainer.global_step == _total_steps(trainer):
            self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bar in the terminal."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bars, so that the message starts on a line of its own."""
        self._close()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Open a passing bar per source."""
        if self.has_dataloader_changed(dataloader_idx) and not trainer.sanity_checking:
            name = _name(trainer, "validation_names", dataloader_idx)
            self._open_evaluation(f"validating on {name}", self.total_val_batches_current_dataloader, lines=trainer.state.fn != "fit")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Move on by one batch."""
        self._advance_evaluation()

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Open a passing bar per target."""
        if self.has_dataloader_changed(dataloader_idx):
            name = _name(trainer, "target_names", dataloader_idx)
            self._open_evaluation(f"testing on {name}", self.total_test_batches_current_dataloader, lines=True)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Move on by one batch."""
        self._advance_evaluation()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away; the table follows."""
        self._close_evaluation()

    def _show(self, trainer: Trainer, total: int | None) -> None:
        """Update the bar or print a line."""
        self._clock.restart_interval()
        if not self._enabled:
            return
        step = trainer.global_step
        losses = _losses(trainer)
        terms = describe_metrics(losses | {name: value for name, value in trainer.progress_bar_metrics.items() if name not in losses})
        wait = describe_wait(wait_share(trainer))
        if self._bar is not None and self._terms is not None:
            self._bar.n = step
            self._bar.refresh()
            self._terms.set_description_str(", ".join(part for part in (wait, terms) if part))
        else:
            _line("  ".join(part for part in (f"step {step}/{total or '?'}", self._clock.describe(step, total), wait, terms) if part))

    def _open_evaluation(self, title: str, batches: float, lines: bool) -> None:
        """Open the bar of one domain, or say on a line what comes (`lines`) where there is no terminal."""
        index = self._current_eval_dataloader_idx
        self._close_evaluation()
        self._current_eval_dataloader_idx = index
        total = int(batches) if math.isfinite(batches) else None
        if self._enabled and _is_terminal():
            self._evaluation = _open_bar(title, total, unit="image", leave=False, position=0 if self._bar is None else 2)
        elif self._enabled and lines:
            _line(f"{title}: {total or 'all'} images")

    def _advance_evaluation(self) -> None:
        """One batch of an evaluation is done."""
        if self._evaluation is not None:
            self._evaluation.update()

    def _close_evaluation(self) -> None:
        """Take the bar of an evaluation away."""
        self.reset_dataloader_idx_tracker()
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None

    def _close(self) -> None:
        """Close whatever is open."""
        self._close_evaluation()
        for bar in (self._bar, self._terms):
            if bar is not None:
                bar.close()
        self._bar = self._terms = None


def _losses(trainer: Trainer) -> dict[str, float]:
    """The newest loss terms that Lightning has; reading them waits for the device, once for each display."""
    terms = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("loss/")}
    if not terms:
        return {}
    return dict(zip(terms, torch.stack([value.float() for value in terms.values()]).tolist(), strict=True))


class _Clock:
    """Time since the first step began and since the last display."""

    def __init__(self, first_step: int) -> None:
        self.first_step = first_step
        self.started: float | None = None
        self.shown = time.monotonic()

    def start(self) -> bool:
        """Start to count; whether this is the first call."""
        if self.started is not None:
            return False
        self.started = time.monotonic()
        return True

    def due(self, seconds: float) -> bool:
        """Whether the last display is at least `seconds` ago."""
        return time.monotonic() - self.shown >= seconds

    def restart_interval(self) -> None:
        """Count from now to the next display."""
        self.shown = time.monotonic()

    def describe(self, step: int, total: int | None) -> str:
        """Iteration rate and time left, empty before the first step is done."""
        done, now = step - self.first_step, time.monotonic()
        if done <= 0 or self.started is None or now <= self.started:
            return ""
        rate = done / (now - self.started)
        left = f"  {describe_seconds((total - step) / rate)} left" if total else ""
        return f"{rate:.{2 if rate < 1 else 1}f} it/s{left}"


def describe_metrics(metrics: dict[str, Any]) -> str:
    """Write metrics on one line; the part of the name before the slash is said once for neighbours.

    Example:
        >>> describe_metrics({"loss/inner": 1.23456, "loss/outer": 0.5, "val/miou": 0.41})
        'loss inner 1.23 outer 0.500, val miou 0.410'
    """
    groups: dict[str, list[str]] = {}
    for name, value in metrics.items():
        group, _, term = name.rpartition("/")
        groups.setdefault(group, []).append(f"{term} {_number(value)}")
    return ", ".join(f"{group} {' '.join(terms)}".strip() for group, terms in groups.items())


def describe_wait(share: float | None) -> str:
    """Write the share of the time that training waited for its images; nothing where it is not known.

    Example:
        >>> describe_wait(0.0312)
        'data wait 3 %'
    """
    return "" if share is None else f"data wait {100 * share:.0f} %"


def describe_seconds(seconds: float) -> str:
    """Write a duration with its two largest units.

    Example:
        >>> describe_seconds(130)
        '2 min 10 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _number(value: Any) -> str:
    """Three significant digits."""
    return f"{float(value):#.3g}".rstrip(".")


def _total_steps(trainer: Trainer) -> int | None:
    """Optimiser steps of the whole run; None when it has no end."""
    total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) else None


def _name(trainer: Trainer, attribute: str, index: int) -> str:
    """Name of an evaluated domain; its number where the data module has no names."""
    names = getattr(getattr(trainer, "datamodule", None), attribute, None)
    return str(names[index]) if names else f"set {index}"


def _is_terminal() -> bool:
    """Whether somebody watches the error stream."""
    return bool(sys.stderr.isatty())


def _open_bar(title: str, total: int | None, **options: Any) -> tqdm:
    """Open a bar as wide as the terminal."""
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    return tqdm(desc=title, total=total, file=sys.stderr, dynamic_ncols=True, bar_format=form, **options)


def _line(text: str) -> None:
    """Print a line at once, also into a file or a pipe."""
    print(text, file=sys.stderr, flush=True)
