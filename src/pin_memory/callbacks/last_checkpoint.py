"""The state that training can go on from."""

import logging
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from pin_memory.callbacks.lightning_loops import (
    Loops,
    after_each_iteration,
    before_validation,
    between_epochs,
    epoch_is_over,
    forget_left_validation,
    without_asking_for_signals,
)
from pin_memory.callbacks.saving import FirstFailedError, save_together
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.signals import Stopped, StopSignals

log = logging.getLogger(__name__)

LAST = "last.ckpt"
"""Name of the newest state in a run's folder of checkpoints."""
AGREED_EVERY = 10
"""Iterations after which several devices agree on whether any of them was told to stop; each time the host waits for its device."""
_EARLIER = re.compile(r"step-(\d+)\.ckpt")


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`, the newest state, and beside it `step-<iteration>.ckpt`, the ones before.

    Saved every so many iterations, after every validation, at the end of training, and when training is told to stop (Ctrl-C, SIGTERM,
    SIGUSR1): then the iteration is finished first, so that the state is one that an undisturbed run goes through. A validation that is
    under way is left, and made again when training goes on. Several devices finish a validation, and up to `AGREED_EVERY` iterations: any
    of them may have been told, and all have to stop after the same one.

    Lightning's `ModelCheckpoint(save_last=True)` does not do that when it monitors a score: it saves `last.ckpt` only at the
    validations that improved the score, and never the steps after the last validation.

    Args:
        directory: Folder of the checkpoints.
        every: Iterations between two states besides those after validations; None: none besides.
        keep: States that are kept, the newest included.

    Raises:
        ConfigurationError: `every` or `keep` is less than 1.
    """

    def __init__(self, directory: str | Path, every: int | None = None, keep: int = 2) -> None:
        super().__init__()
        if (every is not None and every < 1) or keep < 1:
            raise ConfigurationError(
                f"callbacks.last: expected every (iterations, or null) and keep (checkpoints) of at least 1,"
                f" found every={every} and keep={keep}."
            )
        self.path, self.every, self.keep = Path(directory) / LAST, every, keep
        self._signals = StopSignals(deferring=True)
        self._saved: tuple[int, bool] = (0, False)  # iterations made by then, and whether the validation after them was, too
        self._whole: int | None = None  # iterations of the `last.ckpt` on the disk, once it is known to be whole
        self._as: Callable[[Loops], None] | None = None  # how the progress is written down in the state that is being saved

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where training starts or goes on from, and look in after every iteration."""
        self._saved = (trainer.global_step, False)
        resumed = trainer.ckpt_path
        self._whole = trainer.global_step if resumed and Path(resumed).resolve() == self.path.resolve() else None
        forget_left_validation(trainer)
        after_each_iteration(trainer, lambda: self._after_iteration(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """From the first iteration on there is something to save; the signals are taken over from Lightning, too.

        Its handlers would start the job again by themselves under Slurm, and talk to the other processes in the midst of anything.
        """
        self._signals.install()
        without_asking_for_signals(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave a validation when told to stop; of several processes none may leave alone, so they finish it."""
        if self._signals.received is None or trainer.world_size > 1 or trainer.state.fn != "fit":
            return
        if 0 < trainer.max_steps <= trainer.global_step:  # Lightning would not make it again
            log.warning("Stopped in the last validation: training goes on from an earlier checkpoint, if there is one.")
        else:
            self._save_to_stop(trainer, before_validation)
        self._stop(self._signals.received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation during training."""
        if not trainer.sanity_checking and trainer.state.fn == "fit" and self._saved != (trainer.global_step, True):
            self._save(trainer)
            self._saved = (trainer.global_step, True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what is not saved yet."""
        if self._saved[0] != trainer.global_step:
            self._save(trainer)
        self._signals.uninstall()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save nothing: in the midst of an iteration the state is none that training goes through."""
        self._signals.uninstall()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the progress down as one that Lightning goes on from rightly."""
        if self._as is not None:
            self._as(checkpoint["loops"]["fit_loop"])

    def _after_iteration(self, trainer: Trainer) -> None:
        """Save if it is time, or training ends, or was told to stop; called in all processes."""
        step, saved = trainer.global_step, self._saved[0]
        due = self.every is not None and step // self.every > saved // self.every
        ends = epoch_is_over(trainer)
        how = between_epochs if ends else None
        # A place that all processes come to at the same time, whatever each was told; at a save or validation they wait anyway.
        agreed = step % AGREED_EVERY == 0 or due or ends or self._saved == (step, True)
        stop = self._told_to_stop(trainer) if agreed or trainer.world_size == 1 else None
        if stop:
            self._save_to_stop(trainer, how)
            self._stop(stop)
        elif step != saved and (due or step == trainer.max_steps):  # before Lightning ends the epoch of the last step, a whole one or not
            self._save(trainer, how)

    def _told_to_stop(self, trainer: Trainer) -> int | None:
        """The signal that was received, of several processes by any; where they differ, the one of the highest number (SIGTERM)."""
        if trainer.world_size == 1:
            return self._signals.received
        told = torch.tensor([self._signals.received or 0], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return int(told) or None

    def _save_to_stop(self, trainer: Trainer, how: Callable[[Loops], None] | None) -> None:
        """Save; a failure is told, as the command still has to end as one that was stopped."""
        try:
            saved = self._saved[0] == trainer.global_step or self._save(trainer, how)
        except OutputError as error:
            log.warning("%s", error)
            return
        except FirstFailedError:  # who has told it
            return
        if saved and is_first():
            log.info("Saved %s at step %d; resume=%s goes on from there.", self.path, trainer.global_step, self.path.parents[1])

    @staticmethod
    def _stop(number: int) -> None:
        """End training.

        Raises:
            KeyboardInterrupt: In the first process, for Ctrl-C.
            Stopped: Otherwise. With exit code 0 in the other processes: Lightning kills the first one where another fails.
        """
        if number == signal.SIGINT and is_first():
            raise KeyboardInterrupt
        raise Stopped(number) if is_first() else Stopped(number, code=0)

    def _save(self, trainer: Trainer, how: Callable[[Loops], None] | None = None) -> bool:
        """Save the state as `last.ckpt`; whether it was saved. A failure ends all processes."""
        if getattr(trainer, "fast_dev_run", False):
            return False
        if trainer.is_global_zero and self.keep > 1 and self._whole is not None:
            _keep_as(self.path, self.path.with_name(f"step-{self._whole}.ckpt"))
        self._as = how
        try:
            save_together(trainer, lambda: trainer.save_checkpoint(self.path, weights_only=False))
        finally:
            self._as = None
        self._saved, self._whole = (trainer.global_step, False), trainer.global_step
        if trainer.is_global_zero:
            self._tidy(trainer.global_step)
        return True

    def _tidy(self, step: int) -> None:
        """Remove the oldest of the earlier states, and what lies ahead: from a training that a resumption went back behind."""
        found = {number: path for path, number in earlier_states(self.path.parent)}
        kept = sorted(number for number in found if number < step)[-(self.keep - 1) :] if self.keep > 1 else []
        for number in found.keys() - set(kept):
            with suppress(OSError):
                found[number].unlink()


def earlier_states(folder: Path) -> list[tuple[Path, int]]:
    """The `step-<iteration>.ckpt` of a folder of checkpoints with their iterations, the newest first."""
    found = [(path, int(match[1])) for path in folder.glob("step-*.ckpt") if (match := _EARLIER.fullmatch(path.name))]
    return sorted(found, key=lambda pair: -pair[1])


def _keep_as(path: Path, other: Path) -> None:
    """Give a file a second name, without a moment at which it has none; where the file system has no such links, move it."""
    with suppress(OSError):  # what is wrong with the disk, the save that follows will tell, to all processes
        other.unlink(missing_ok=True)
        try:
            os.link(path, other)
        except FileNotFoundError:
            raise
        except OSError:
            path.replace(other)
