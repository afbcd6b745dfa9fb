"""The state that training can go on from."""

import logging
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from pin_memory.errors import OutputError

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`: the newest state, saved after every validation, at the end of training and on Ctrl-C.

    Lightning's `ModelCheckpoint(save_last=True)` does not do that when it monitors a score: it saves `last.ckpt` only at the
    validations that improved the score, and never the steps after the last validation.

    Args:
        directory: Folder of the checkpoint.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.path = Path(directory) / "last.ckpt"
        self._saved_step = 0
        self._first_step: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where training starts or goes on from."""
        self._first_step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation during training."""
        if not trainer.sanity_checking:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps made since the last validation."""
        self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the steps made so far when the user stops training; after anything else the state may be what went wrong."""
        if not isinstance(exception, KeyboardInterrupt) or self._first_step is None or trainer.global_step <= self._first_step:
            return
        try:
            if self._save_alone(trainer) if trainer.world_size > 1 else self._save(trainer):
                log.info("Saved %s at step %d.", self.path, trainer.global_step)
        except OutputError as error:  # the command still ends as one that was stopped
            log.warning("%s", error)

    def _save_alone(self, trainer: Trainer) -> bool:
        """Save without the other processes, of which some may have been stopped elsewhere: waiting for them could take for ever."""
        if not trainer.is_global_zero or self._saved_step == trainer.global_step:
            return False
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        trainer.strategy.checkpoint_io.save_checkpoint(content, self.path)
        return True

    def _save(self, trainer: Trainer) -> bool:
        """Save unless this very step was saved before or nothing is being trained; whether it was saved."""
        if trainer.state.fn != "fit" or getattr(trainer, "fast_dev_run", False) or self._saved_step == trainer.global_step:
            return False
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step = trainer.global_step
        return True
