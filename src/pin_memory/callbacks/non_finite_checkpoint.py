"""The state before a step whose numbers were not finite."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.callbacks.lightning_loops import between_epochs, epoch_is_over
from pin_memory.utils.errors import NonFiniteError, OutputError

log = logging.getLogger(__name__)


class BeforeNonFinite(Callback):
    """Keep `before_non_finite.ckpt` when a number that is not finite ends a run: the state that the bad iteration started from.

    The step was not made, so the state at hand is the one before. Resuming from it (`resume=FILE` with the settings of the run; a new run)
    makes that iteration again, with its images.

    Args:
        directory: Folder of the checkpoint.
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / "before_non_finite.ckpt"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if that is what happened; all processes of a run have found the same."""
        if not isinstance(exception, NonFiniteError) or trainer.state.fn != "fit":
            return
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        try:
            trainer.strategy.save_checkpoint(at_the_start_of_the_iteration(content, epoch_is_over(trainer)), self.path)
        except OutputError as error:  # the message about the numbers must still come
            log.warning("%s", error)
            return
        if trainer.is_global_zero:
            log.warning("The state before is kept: give the command with its settings again, and resume=%s, for a new run.", self.path)


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
