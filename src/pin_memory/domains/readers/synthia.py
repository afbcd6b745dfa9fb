"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 rendered frames with ids of its own."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pin_memory.domains.readers.base import Domain, Transform
from pin_memory.domains.readers.decoding import read_deep_rgb, read_indices
from pin_memory.domains.readers.flat_layout import FlatLayout
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Layout
from pin_memory.utils.labels import CLASSES, TRAIN_ID_TABLE, TRAIN_ID_VALUES, label_table

_TRAIN_IDS = [255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255]

CLASSES_16 = tuple(name for name in CLASSES if name not in ("terrain", "truck", "train"))
"""The classes that occur in SYNTHIA."""

CLASSES_13 = tuple(name for name in CLASSES_16 if name not in ("wall", "fence", "pole"))
"""Those of them that the older papers score."""

_ROBUSTNET_COUNTS = {"train": 6580, "val": 2820}  # of the lists that RobustNet drew, and of the folders made by them
_TREES: dict[str, tuple[type[Layout], str]] = {"split folders": (Layout, "/{split}"), "as published": (FlatLayout, "")}
_LABELS: dict[str, tuple[str, str, np.ndarray | None]] = {
    "": (r"(\d{7})\.png", "class in 16-bit red", None),
    ", labelTrainIds": (r"(\d{7})_labelTrainIds\.png", "train ids", TRAIN_ID_TABLE),
}


class Synthia(Domain):
    """SYNTHIA: 16-bit RGB label PNGs whose red channel is the class.

    Terrain, truck and train do not occur. The split is that of `split_file`; else of the folders train and val; else the last fifth of the
    frames by name is validated and tested on.
    """

    title: ClassVar[str] = "SYNTHIA-RAND-CITYSCAPES"
    tree = """
RAND_CITYSCAPES/RGB/0000000.png ... 0009399.png
RAND_CITYSCAPES/GT/LABELS/0000000.png ... 0009399.png    (16-bit RGB; GT/COLOR is not used)
(or RGB/ and GT/ directly)
"""
    download: ClassVar[str] = "the archive SYNTHIA-RAND-CITYSCAPES from synthia-dataset.net (Downloads)"
    table = label_table(_TRAIN_IDS)
    layouts: tuple[Layout, ...] = tuple(
        kind(tree + converted, f"RGB{inner}", f"GT/LABELS{inner}", r"(\d{7})\.png", label, TRAIN_AND_VAL, encoding, table)
        for converted, (label, encoding, table) in _LABELS.items()
        for tree, (kind, inner) in _TREES.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES/RAND_CITYSCAPES")
    classes = CLASSES_16
    score_subsets: ClassVar[Mapping[str, tuple[str, ...]]] = {"miou16": CLASSES_16, "miou13": CLASSES_13}
    # There is no official split: these are the parts of the 9,400 frames by the last fifth.
    official_counts: Mapping[str, int] = {"train": 7520, "val": 1880}

    def __init__(self, root: str | Path, split: str, transform: Transform | None = None, **options: Any) -> None:
        """List the samples of a split; see `Domain`."""
        super().__init__(root, split, transform, **options)
        if self.split_file is not None or self.layout.by_folder:
            self.official_counts = _ROBUSTNET_COUNTS

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == "train ids" else range(len(_TRAIN_IDS))

    def sample_name(self, key: str) -> str:
        """The number of the frame, unique over the folders."""
        return key.rsplit("/", 1)[-1]

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read the class, (H, W) uint8, from the red channel; ids above 255, which no class has, become 255."""
        if self.layout.encoding == "train ids":
            return read_indices(path)
        return np.minimum(read_deep_rgb(path)[..., 0], 255).astype(np.uint8)
