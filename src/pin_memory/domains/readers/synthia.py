"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 rendered frames with ids of its own."""

from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.label_maps import read_deep_red, read_indices
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout
from pin_memory.utils.labels import CLASSES, label_table

CLASSES_16 = tuple(name for name in CLASSES if name not in ("terrain", "truck", "train"))
"""The classes that occur in SYNTHIA."""

CLASSES_13 = tuple(name for name in CLASSES_16 if name not in ("wall", "fence", "pole"))
"""Those of them that the older papers take the mean over."""

_TABLE = [255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255]
_TREES = {"split folders": ("/{split}", True), "as published": ("", False)}
_LABELS: dict[str, tuple[str, dict[str, Any]]] = {
    "": (r"(\d{7})\.png", {"encoding": "class in 16-bit red", "raw_ids": range(len(_TABLE))}),
    ", labelTrainIds": (r"(\d{7})_labelTrainIds\.png", {"encoding": "train ids", **TRAIN_IDS}),
}


class Synthia(Domain):
    """SYNTHIA: 16-bit RGB label PNGs whose red channel is the class.

    Terrain, truck and train do not occur. The split is that of `split_file`; else of the folders train and val; else the last fifth of the
    frames by name is validated and tested on.
    """

    title = "SYNTHIA-RAND-CITYSCAPES"
    tree = """
RAND_CITYSCAPES/RGB/0000000.png ... 0009399.png
RAND_CITYSCAPES/GT/LABELS/0000000.png ... 0009399.png    (16-bit RGB; GT/COLOR is not used)
(or RGB/ and GT/ directly)
"""
    download = "the archive SYNTHIA-RAND-CITYSCAPES from synthia-dataset.net (Downloads)"
    table = label_table(_TABLE)
    layouts = tuple(
        Layout(tree + kind, f"RGB{inner}", f"GT/LABELS{inner}", r"(\d{7})\.png", label, TRAIN_AND_VAL, recursive=recursive, **fields)
        for kind, (label, fields) in _LABELS.items()
        for tree, (inner, recursive) in _TREES.items()
    )
    inner_roots = ("", "RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES/RAND_CITYSCAPES")
    classes = CLASSES_16
    score_subsets = {"miou16": CLASSES_16, "miou13": CLASSES_13}
    # There is no official split: these are the parts of the 9,400 frames by the last fifth.
    official_counts = {"train": 7520, "val": 1880}
    unique_file_names = True

    def __init__(self, root: str | Path, split: str, transform: Transform | None = None, **options: Any) -> None:
        super().__init__(root, split, transform, **options)
        if self.split_file is not None or self.layout.by_folder:
            self.official_counts = {"train": 6580, "val": 2820}  # of the lists that RobustNet drew, and of the folders made by them

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read the class, (H, W) uint8, from the red channel; ids above 255, which no class has, become 255."""
        if self.layout.encoding == "train ids":
            return read_indices(path)
        return np.minimum(read_deep_red(path), 255).astype(np.uint8)
