"""Pictures of what the network predicts on the targets."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.domains.transforms import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.errors import OutputError
from pin_memory.visualize import denormalize, panel, write_panel

log = logging.getLogger(__name__)


class PredictionPanels(Callback):
    """Write `<target>_<image>.jpg` with image, ground truth, prediction and differences while testing.

    The pictures are evenly spaced over each target: the first image of each chosen batch, so with batches of one image exactly
    `per_target` pictures. Needs `test_step` to return `{"prediction": (B, H, W)}`. A picture that cannot be written is left out with
    a warning, as the scores matter more.

    Args:
        directory: Folder of the panels.
        per_target: Pictures per target.
        mean: Mean that the images were normalised with.
        std: Standard deviation that the images were normalised with.

    Attributes:
        paths: The panels written by the last test.
    """

    def __init__(
        self, directory: str | Path, per_target: int = 4, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.per_target = per_target
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.paths: list[Path] = []
        self._warned = False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the panels of an earlier test."""
        self.paths, self._warned = [], False

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Draw the first image of the batch if it is one of the chosen."""
        if not trainer.is_global_zero or batch_idx not in _evenly_spaced(trainer.num_test_batches[dataloader_idx], self.per_target):
            return
        target, name = trainer.datamodule.target_names[dataloader_idx], str(batch["name"][0])  # type: ignore[attr-defined]
        rgb = denormalize(batch["image"][0], self.mean, self.std)
        truth, prediction = (mask[0].cpu().numpy() for mask in (batch["label"], outputs["prediction"]))
        path = self.directory / f"{target}_{name.replace('/', '_')}.jpg"
        try:
            write_panel(path, panel(rgb, truth, prediction, f"{target}: {name}", trainer.datamodule.label_space))  # type: ignore[attr-defined]
            self.paths.append(path)
        except OutputError as error:
            if not self._warned:
                log.warning("%s Judging goes on; panels that cannot be written are left out.", error)
            self._warned = True


def _evenly_spaced(count: float, picks: int) -> set[int]:
    """The middles of `picks` equal parts of 0..count-1, all of them if there are no more; the first ones of an endless loader."""
    if count == float("inf"):
        return set(range(picks))
    return set(((np.arange(picks) + 0.5) * count / max(picks, 1)).astype(int).tolist()) if picks < count else set(range(int(count)))
