"""The state before a step that went wrong."""

import copy
import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.callbacks.lightning_loops import between_epochs, epoch_is_over
from pin_memory.utils.errors import NonFiniteError, OutputError

log = logging.getLogger(__name__)


class BeforeNonFinite(Callback):
    """Keep `before_non_finite.ckpt` when a number that is not finite ends a run: the state that the bad iteration started from.

    Going on from it (`resume=FILE` beside the settings of the run; a new run) makes that iteration again, with its images.

    Args:
        directory: Folder of the checkpoint.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / "before_non_finite.ckpt"
        self._progress: dict[int, dict[str, Any]] = {}  # of the newest iterations, by their numbers

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember how far training was, if what is wrong with an iteration may be found in the next one."""
        is_late = getattr(getattr(pl_module, "numerics", None), "is_late", None)
        if is_late is not None and is_late(pl_module.device):
            before = trainer.global_step - 1
            kept = {before: self._progress[before]} if before in self._progress else {}
            self._progress = kept | {trainer.global_step: _progress(trainer)}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if that is what happened; all processes of a run have found the same."""
        if not isinstance(exception, NonFiniteError) or trainer.state.fn != "fit":
            return
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if exception.begins in self._progress:
            _set_progress(content, self._progress[exception.begins])
        content = at_the_start_of_the_iteration(content, epoch_is_over(trainer))
        try:
            trainer.strategy.save_checkpoint(content, self.path)
        except OutputError as error:  # the message about the numbers must still come
            log.warning("%s", error)
            return
        if trainer.is_global_zero:
            log.warning(
                "The state before is kept: give the command with its settings again, and resume=%s, for a new run from it.", self.path
            )


def _progress(trainer: Trainer) -> dict[str, Any]:
    """All of a checkpoint that an iteration changes on the host, in the midst of the iteration."""
    connector = trainer._checkpoint_connector
    state = {
        "global_step": trainer.global_step,
        "loops": connector._get_loops_state_dict(),
        "lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "groups": [[{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups] for optimizer in trainer.optimizers],
    }
    return copy.deepcopy(state)


def _set_progress(checkpoint: dict[str, Any], progress: dict[str, Any]) -> None:
    """Take a checkpoint, whose tensors are those of another iteration's beginning, back to that iteration."""
    groups = progress.pop("groups")
    checkpoint.update(progress)
    for optimizer, kept in zip(checkpoint["optimizer_states"], groups, strict=True):
        for group, numbers in zip(optimizer["param_groups"], kept, strict=True):
            group.update(numbers)


def at_the_start_of_the_iteration(checkpoint: dict[str, Any], last: bool = False) -> dict[str, Any]:
    """Count the iteration that was begun, and the batches that the loaders gave for it, as not begun.

    Args:
        checkpoint: What Lightning makes of a Trainer in the middle of an iteration, or after it; changed in place.
        last: The iteration is the last one of its epoch.
    """
    loop = checkpoint["loops"]["fit_loop"]
    batches = loop["epoch_loop.batch_progress"]
    begun = batches["total"]["ready"] > batches["total"]["completed"]
    for progress in batches["total"], batches["current"]:
        progress.update(dict.fromkeys(("ready", "started", "processed"), progress["completed"]))
    if begun:
        batches["is_last_batch"] = False
        for loader in loop["state_dict"].get("combined_loader", []):
            loader["batches"] -= 1
    elif last:
        between_epochs(loop)
    return checkpoint
