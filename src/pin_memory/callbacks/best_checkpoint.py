"""The best weights so far, also across a resumption."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from pin_memory.files import atomic_write
from pin_memory.ranks import is_first


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`, the weights with the best monitored score, which a resumed run goes on to beat.

    A resumed run writes into a folder of its own, and Lightning's class then forgets the earlier best score; here the earlier file moves
    along (as a copy) with its score.

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best of the run that is resumed, if its file is still there."""
        earlier = Path(state_dict.get("best_model_path") or "")
        if not earlier.is_file() or self.dirpath is None:
            return
        own = Path(self.dirpath) / earlier.name
        if own.resolve() != earlier.resolve() and is_first():
            own.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(own) as temporary:
                shutil.copy2(earlier, temporary)
        moved = {"best_model_path": str(own), "dirpath": self.dirpath, "last_model_path": "", "kth_best_model_path": str(own)}
        super().load_state_dict(state_dict | moved | {"best_k_models": {str(own): state_dict["best_model_score"]}})
