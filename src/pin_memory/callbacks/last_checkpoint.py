"""The state that training can go on from."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt`: the newest state, saved after every validation and at the end of training.

    Lightning's `ModelCheckpoint(save_last=True)` does not do that when it monitors a score: it saves `last.ckpt` only at the
    validations that improved the score, and never the steps after the last validation.

    Args:
        directory: Folder of the checkpoint.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.path = Path(directory) / "last.ckpt"
        self._saved_step = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation during training."""
        if not trainer.sanity_checking:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps made since the last validation."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        """Save unless this very step was saved before or nothing is being trained."""
        if trainer.state.fn != "fit" or getattr(trainer, "fast_dev_run", False) or self._saved_step == trainer.global_step:
            return
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step = trainer.global_step
