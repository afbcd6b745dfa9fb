"""The best weights so far, also across a resumption."""

import logging
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pin_memory.callbacks.saving import save_together
from pin_memory.utils.checkpoint_io import damage
from pin_memory.utils.distributed import is_first
from pin_memory.utils.files import atomic_write
from pin_memory.utils.safe_load import load_weights_only

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`, the weights with the best monitored score, which a resumed run goes on to beat.

    Lightning's class forgets the best score when the folder has changed; here the earlier file moves along (as a copy) with its score.
    And it takes whatever lies under the recorded path for the recorded best; here the file has to be whole and of the recorded step. A run
    that was killed between writing `best.ckpt` and `last.ckpt` has a newer one: its score is forgotten, and found again, as training goes
    on from before it.

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

    def state_dict(self) -> dict[str, Any]:
        """Lightning's state, and the step of the best weights."""
        return super().state_dict() | {"best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far, if its file is still there: in this folder, or where it was."""
        recorded = state_dict.get("best_model_path")
        if not recorded or self.dirpath is None:
            return
        own, step = Path(self.dirpath) / Path(recorded).name, state_dict.get("best_step")
        # A checkpoint of before there were steps names the file alone.
        places = (own, Path(recorded)) if step is not None else (Path(recorded),)
        earlier = next((place for place in places if _is_of(place, step)), None)
        if earlier is None:
            if is_first():
                log.info("The best weights so far (%s) are not there any more; the best is looked for from here on.", recorded)
            return
        if own.resolve() != earlier.resolve() and is_first():
            own.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(own) as temporary:
                shutil.copy2(earlier, temporary)
        moved = {"best_model_path": str(own), "dirpath": self.dirpath, "last_model_path": "", "kth_best_model_path": str(own)}
        super().load_state_dict(state_dict | moved | {"best_k_models": {str(own): state_dict["best_model_score"]}})
        self.best_step = step

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Save as Lightning does, with the step on record in the file itself."""
        self.best_step = trainer.global_step
        save_together(trainer, lambda: super(BestCheckpoint, self)._save_checkpoint(trainer, filepath))


def _is_of(path: Path, step: int | None) -> bool:
    """Whether a whole checkpoint of this step lies there; None: of any."""
    return path.is_file() and damage(path) is None and step in (None, load_weights_only(path).get("global_step"))
