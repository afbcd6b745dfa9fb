"""The state that training can resume from."""

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

from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.lightning_private import (
    after_each_iteration,
    disable_sigterm_broadcast,
    mark_validation_pending,
    reset_validation_counter,
)
from pin_memory.utils.signals import Stopped, StopSignals

log = logging.getLogger(__name__)

LAST = "last.ckpt"
"""Name of the newest state in a run's folder of checkpoints."""
ASK_EVERY = 10
"""Iterations after which several processes ask each other whether any of them got a signal; each time the host waits for its device."""
_EARLIER = re.compile(r"step-(\d+)\.ckpt")


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`, the newest state, and next to it `step-<iteration>.ckpt`, the ones before.

    Saved every so many iterations, after every validation, at the end of training, and on a signal to stop (Ctrl-C, SIGTERM, SIGUSR1): then
    the iteration is finished first, so that the state is one that an undisturbed run goes through. A validation that is under way is left,
    and made again after a resumption. Several processes finish a validation, and up to `ASK_EVERY` iterations: any of them may have got the
    signal, and all have to stop after the same iteration.

    Lightning's `ModelCheckpoint(save_last=True)` does not do that when it monitors a score: it saves `last.ckpt` only at the validations
    that improved the score, and never the steps after the last validation.

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
        self.last_saved_step = 0
        self.validated = False  # whether the last saved state is one from after the validation of its step
        self.last_file_step: int | None = None  # step of the `last.ckpt` on the disk, once that is known to be intact
        self._signals = StopSignals(deferring=True)
        self._in_validation = False  # whether the state that is being saved is from the middle of a validation

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where training starts, and be called after every iteration."""
        self.last_saved_step, self.validated = trainer.global_step, False
        resumed = trainer.ckpt_path
        self.last_file_step = trainer.global_step if resumed and Path(resumed).resolve() == self.path.resolve() else None
        reset_validation_counter(trainer)
        after_each_iteration(trainer, lambda: self._after_iteration(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the signals over, also from Lightning, as soon as there is something to save.

        Its handlers would requeue the job by themselves under Slurm, and talk to the other processes at any moment.
        """
        self._signals.install()
        disable_sigterm_broadcast(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Leave a validation on a signal; several processes finish it, as none may leave it without the others."""
        if self._signals.received is None or trainer.world_size > 1 or trainer.state.fn != "fit":
            return
        if 0 < trainer.max_steps <= trainer.global_step:  # Lightning would not make it again
            log.warning("Stopped in the last validation: a resumption starts from an earlier checkpoint, if there is one.")
        else:
            self._in_validation = True
            self._save_to_stop(trainer)
        self._stop(self._signals.received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation during training."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or (self.last_saved_step, self.validated) == (trainer.global_step, True):
            return
        self._save(trainer)
        self.validated = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what is not saved yet."""
        if self.last_saved_step != trainer.global_step:
            self._save(trainer)
        self._signals.uninstall()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save nothing: in the middle of an iteration the state is none that training goes through."""
        self._signals.uninstall()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the progress down as one that Lightning resumes from correctly."""
        if self._in_validation:
            mark_validation_pending(checkpoint["loops"]["fit_loop"])

    def _after_iteration(self, trainer: Trainer) -> None:
        """Save if it is time, or the last iteration, or on a signal; called in all processes."""
        step, saved = trainer.global_step, self.last_saved_step
        is_due = step == trainer.max_steps or (self.every is not None and step // self.every > saved // self.every)
        # A moment that all processes come to after the same iteration, whichever got a signal; at a save or validation they wait anyway.
        may_ask = step % ASK_EVERY == 0 or is_due or (saved, self.validated) == (step, True)
        received = self._received_by_any(trainer) if may_ask or trainer.world_size == 1 else None
        if received:
            self._save_to_stop(trainer)
            self._stop(received)
        elif is_due and step != saved:
            self._save(trainer)

    def _received_by_any(self, trainer: Trainer) -> int | None:
        """Return the signal that a process got; where they got different ones, that of the highest number (SIGTERM)."""
        if trainer.world_size == 1:
            return self._signals.received
        received = torch.tensor([self._signals.received or 0], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(received, torch.distributed.ReduceOp.MAX)
        return int(received) or None

    def _save_to_stop(self, trainer: Trainer) -> None:
        """Save; a failure is only reported, as the command still has to end as one that was stopped."""
        try:
            saved = self.last_saved_step == trainer.global_step or self._save(trainer)
        except OutputError as error:
            log.warning("%s", error)
            return
        except FirstFailedError:  # which has reported it
            return
        if saved and is_first():
            log.info("Saved %s at step %d; resume=%s continues from there.", self.path, trainer.global_step, self.path.parents[1])

    @staticmethod
    def _stop(number: int) -> None:
        """End training by an exception: exit code 0 in all processes but the first, which Lightning kills where another one fails."""
        if number == signal.SIGINT and is_first():
            raise KeyboardInterrupt
        raise Stopped(number) if is_first() else Stopped(number, code=0)

    def _save(self, trainer: Trainer) -> bool:
        """Save the state as `last.ckpt` and return whether it was saved; a failure ends all processes."""
        if getattr(trainer, "fast_dev_run", False):
            return False
        for logger in trainer.loggers:
            logger.save()  # a resumption makes no row again that was logged before
        if trainer.is_global_zero and self.keep > 1 and self.last_file_step is not None:
            _keep_as(self.path, self.path.with_name(f"step-{self.last_file_step}.ckpt"))
        save_together(trainer, lambda: trainer.save_checkpoint(self.path, weights_only=False))
        self.last_saved_step, self.validated = trainer.global_step, False
        self.last_file_step = trainer.global_step
        if trainer.is_global_zero:
            self._remove_others(trainer.global_step)
        return True

    def _remove_others(self, step: int) -> None:
        """Remove the oldest of the earlier states, and later ones: of a training that a resumption went back behind."""
        found = {number: path for path, number in earlier_states(self.path.parent)}
        kept = sorted(number for number in found if number < step)[-(self.keep - 1) :] if self.keep > 1 else []
        for number in found.keys() - set(kept):
            with suppress(OSError):
                found[number].unlink()


class FirstFailedError(SystemExit):
    """The first process could not write a checkpoint, and reports it; this one ends with it, silently.

    With exit code 0: Lightning kills the first process where another one fails, perhaps before its message is out.
    """

    def __init__(self) -> None:
        super().__init__(0)


def save_together(trainer: Trainer, save: Callable[[], None]) -> None:
    """Call `save`, which saves a checkpoint, or fail in all processes: with an OutputError in the first, a FirstFailedError in the others.

    Otherwise the first one would raise while the others wait for it in the barrier of `Trainer.save_checkpoint`. torchrun ends them then,
    but Lightning, where it has started them, does so for Ctrl-C only.
    """
    failure: OutputError | None = None
    try:
        save()
    except OutputError as error:
        failure = error
        trainer.strategy.barrier("Trainer.save_checkpoint")  # the one that the others wait in
    if trainer.world_size > 1 and trainer.strategy.broadcast(failure is not None) and failure is None:
        raise FirstFailedError
    if failure is not None:
        raise failure


def earlier_states(folder: Path) -> list[tuple[Path, int]]:
    """Return the `step-<iteration>.ckpt` of a folder of checkpoints with their iterations, the newest first."""
    found = [(path, int(match[1])) for path in folder.glob("step-*.ckpt") if (match := _EARLIER.fullmatch(path.name))]
    return sorted(found, key=lambda pair: -pair[1])


def _keep_as(path: Path, other: Path) -> None:
    """Give a file a second name, without a moment at which it has none; where the file system has no such links, move it."""
    with suppress(OSError):  # what is wrong with the disk, the save that follows reports to all processes
        other.unlink(missing_ok=True)
        try:
            os.link(path, other)
        except FileNotFoundError:
            raise
        except OSError:
            path.replace(other)
