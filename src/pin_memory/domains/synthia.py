"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 rendered frames with ids of its own."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.decoding import read_deep_rgb
from pin_memory.domains.layouts import Layout

_TRAIN_IDS = [255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255]


class Synthia(Domain):
    """SYNTHIA: 16-bit RGB label PNGs whose red channel is the class.

    Terrain, truck and train do not occur. The last fifth of the frames by name is validated and tested on, the rest trained on.
    """

    title: ClassVar[str] = "SYNTHIA-RAND-CITYSCAPES"
    tree: ClassVar[str] = """
RAND_CITYSCAPES/RGB/0000000.png ... 0009399.png
RAND_CITYSCAPES/GT/LABELS/0000000.png ... 0009399.png    (16-bit RGB; GT/COLOR is not used)
(or RGB/ and GT/ directly)
"""
    download: ClassVar[str] = "the archive SYNTHIA-RAND-CITYSCAPES from synthia-dataset.net (Downloads)"
    table = label_table(_TRAIN_IDS)

    layouts: ClassVar[tuple[Layout, ...]] = (Layout("as published", "RGB", "GT/LABELS", r"(\d{7})\.png", r"(\d{7})\.png"),)
    inner_roots: ClassVar[tuple[str, ...]] = ("", "RAND_CITYSCAPES")

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read the class, (H, W) uint8, from the red channel; ids above 255, which no class has, become 255."""
        return np.minimum(read_deep_rgb(path)[..., 0], 255).astype(np.uint8)


class SynthiaDataModule(DomainDataModule):
    """SYNTHIA as a data module."""

    reader = Synthia
