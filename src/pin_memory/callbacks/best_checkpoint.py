"""The best weights so far, also across a resumption."""

import logging
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pin_memory.callbacks.last_checkpoint import save_together
from pin_memory.callbacks.wandb_media import wandb_run
from pin_memory.utils.checkpoint_io import DamagedCheckpointError, load_intact
from pin_memory.utils.distributed import is_first
from pin_memory.utils.files import atomic_write
from pin_memory.utils.trackers import trackers

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`, the weights with the best monitored score, which a resumed run tries to beat.

    Lightning's class forgets the best score when the folder has changed; here the earlier file is copied with its score. And it takes
    whatever lies under the recorded path for the recorded best; here the file has to be intact and of the recorded step. A run that was
    killed between writing `best.ckpt` and `last.ckpt` has a newer one: its score is forgotten, and found again, as training resumes from
    before it.

    Args:
        directory: Folder of the checkpoint.
        monitor: Name of the logged score.
        mode: `max` or `min`.
    """

    def __init__(self, directory: str | Path, monitor: str = "val/miou", mode: str = "max") -> None:
        super().__init__(
            dirpath=directory,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self.best_step: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best; the summary of a W&B run, which else has the newest score, gets the best one."""
        super().on_validation_end(trainer, pl_module)
        if self.best_step is None or self.best_model_score is None:
            return
        if (run := wandb_run(trainer)) is not None:
            run.summary.update({str(self.monitor): float(self.best_model_score), "val/best_step": self.best_step})
        for logger in trackers(trainer.loggers):
            logger.log_metrics({"val/best_step": self.best_step}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state, and the step of the best weights."""
        return super().state_dict() | {"best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the best so far if its file is still in this folder, or where it was."""
        recorded, step = state_dict.get("best_model_path"), state_dict.get("best_step")
        if not recorded or self.dirpath is None:
            return
        path = Path(self.dirpath) / Path(recorded).name
        earlier = next((place for place in (path, Path(recorded)) if _is_of_step(place, step)), None)
        if earlier is None:
            if is_first():
                log.info("The best weights so far (%s) are not there any more; the best is looked for from here on.", recorded)
            return
        if earlier.resolve() != path.resolve() and is_first():
            with atomic_write(path) as temporary:
                shutil.copy2(earlier, temporary)
        paths = dict.fromkeys(("best_model_path", "kth_best_model_path"), str(path))
        moved = {"dirpath": self.dirpath, "last_model_path": "", "best_k_models": {str(path): state_dict["best_model_score"]}}
        super().load_state_dict(state_dict | paths | moved)
        self.best_step = step

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Save as Lightning does, with the step on record in the file itself."""
        self.best_step = trainer.global_step
        save_together(trainer, lambda: super(BestCheckpoint, self)._save_checkpoint(trainer, filepath))


def _is_of_step(path: Path, step: int | None) -> bool:
    try:
        return step is not None and bool(load_intact(path).get("global_step") == step)
    except (OSError, DamagedCheckpointError):
        return False
