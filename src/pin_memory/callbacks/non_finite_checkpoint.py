"""The state before a step whose numbers were not finite."""

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.errors import NonFiniteError, OutputError
from pin_memory.utils.lightning_private import checkpoint_content, rewind_begun_iteration

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
        content = checkpoint_content(trainer)
        rewind_begun_iteration(content)
        try:
            trainer.strategy.save_checkpoint(content, self.path)
        except OutputError as error:  # the message about the numbers must still come
            log.warning("%s", error)
            return
        if trainer.is_global_zero:
            log.warning("The state before is kept: give the command with its settings again, and resume=%s, for a new run.", self.path)
