"""Pictures of what the network predicts on the targets."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import file_name, report_write_errors, write_text
from pin_memory.utils.images import denormalize
from pin_memory.utils.labels import LabelSpace
from pin_memory.utils.pictures import overview, overview_row, palette, panel, resize, size_within, write_image, wrong_share

log = logging.getLogger(__name__)

OVERVIEW = "overview.jpg"
"""File next to the folder of the panels: all of them, small, in one picture."""
TILES = "tiles"
"""Folder next to that of the panels, with what the report shows; `index.json` in it lists the pictures and the classes."""
_TILE_WIDTH, _TILE_HEIGHT = 960, 720


class PredictionPanels(Callback):
    """Write `<target>_<image>.jpg` with image, ground truth, prediction and differences while testing, then all in one `overview.jpg`.

    The pictures are evenly spaced over each target: the first image of each chosen batch, so with batches of one image exactly
    `per_target` pictures. Needs `test_step` to return `{"prediction": (B, H, W)}`. A picture that cannot be written is left out with
    a warning, as the scores matter more.

    Args:
        directory: Folder of the panels.
        per_target: Pictures per target.
        tiles: Also keep image, ground truth and prediction of each panel as separate files, for the report, in the folder `tiles` next
            to `directory`.

    Attributes:
        by_target: The panels written by the last test, of each target.
        overview: The picture of them all; None before a test, and where there are no panels.
    """

    def __init__(
        self,
        directory: str | Path,
        per_target: int = 4,
        tiles: bool = True,
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.per_target = per_target
        self.tiles = self.directory.with_name(TILES) if tiles else None
        self.by_target: dict[str, list[Path]] = {}
        self.overview: Path | None = None
        self._rows: list[np.ndarray] = []
        self._present: set[int] = set()
        self._index: list[dict[str, Any]] = []
        self._warned = False

    @property
    def paths(self) -> list[Path]:
        """The panels written by the last test."""
        return [path for paths in self.by_target.values() for path in paths]

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the panels of an earlier test."""
        self.by_target, self.overview, self._warned = {}, None, False
        self._rows, self._present, self._index = [], set(), []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Draw the first image of the batch if it is one of the chosen."""
        if not trainer.is_global_zero or batch_idx not in evenly_spaced_batches(trainer.num_test_batches[dataloader_idx], self.per_target):
            return
        shown = batch | outputs  # of an episode, a test step returns the images that it has predicted, too
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        target, name = data.test_stages[dataloader_idx], str(shown["name"][0])
        space = data.space_of(target)
        rgb = denormalize(shown["image"][0])
        truth, prediction = (mask[0].cpu().numpy() for mask in (shown["label"], shown["prediction"]))
        stem = file_name(f"{target}_{name}")
        try:
            write_image(path := self.directory / f"{stem}.jpg", panel(rgb, truth, prediction, f"{target}: {name}", space))
            self.by_target.setdefault(target, []).append(path)
            self._rows.append(overview_row(rgb, truth, prediction, f"{target}: {name}", space))
            self._present |= {*np.unique(truth).tolist(), *np.unique(prediction).tolist()}
            if self.tiles is not None:
                files = write_tiles(self.tiles, stem, rgb, truth, prediction, space)
                self._index.append({"target": target, "name": name, **files})
        except OutputError as error:
            self._warn(error)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the overview and list the tiles, with the names and colours of the classes."""
        if not self._rows:
            return
        space: LabelSpace = trainer.datamodule.outputs  # type: ignore[attr-defined]
        try:
            write_image(path := self.directory.with_name(OVERVIEW), overview(self._rows, self._present, space))
            self.overview = path
            if self.tiles is not None:
                content = {"classes": list(space.names), "palette": space.palette.tolist(), "panels": self._index}
                with report_write_errors(path := self.tiles / "index.json"):
                    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")
        except OutputError as error:
            self._warn(error)

    def _warn(self, error: OutputError) -> None:
        """Report the first failure; the others are likely to be the same."""
        if not self._warned:
            log.warning("%s Evaluation continues; panels that cannot be written are left out.", error)
        self._warned = True


def write_tiles(
    folder: Path, stem: str, rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray, space: LabelSpace
) -> dict[str, object]:
    """Write `<stem>_image.jpg`, `<stem>_truth.png` and `<stem>_prediction.png` (train ids with a palette), shrunk where they are large.

    Returns the file names by tile, and `wrong`: the share of the evaluated pixels at full size.
    """
    size, colours = size_within(truth, _TILE_WIDTH, _TILE_HEIGHT), palette(space)
    files = {"image": f"{stem}_image.jpg", "truth": f"{stem}_truth.png", "prediction": f"{stem}_prediction.png"}
    write_image(folder / files["image"], resize(rgb, size))
    write_image(folder / files["truth"], resize(truth, size), colours)
    write_image(folder / files["prediction"], resize(prediction, size), colours)
    return {**files, "wrong": wrong_share(truth, prediction)}


def evenly_spaced_batches(count: float, picks: int) -> set[int]:
    """The middles of `picks` equal parts of 0..count-1, all of them if there are no more; the first ones of an endless loader."""
    if count == float("inf"):
        return set(range(picks))
    return set(((np.arange(picks) + 0.5) * count / max(picks, 1)).astype(int).tolist()) if picks < count else set(range(int(count)))
