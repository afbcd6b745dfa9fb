"""GTAV ("Playing for Data", Richter et al., ECCV 2016): 24,966 rendered frames with Cityscapes label ids."""

from typing import ClassVar

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import Layout

# Cityscapes label ids 0..33; 34, the licence plate, is not listed.
_TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]


class GTAV(Domain):
    """GTAV: palette PNGs whose index is the Cityscapes label id.

    The last fifth of the frames by name is validated and tested on, the rest trained on.
    """

    title: ClassVar[str] = "GTAV (Playing for Data)"
    tree: ClassVar[str] = """
images/00001.png ... 24966.png
labels/00001.png ... 24966.png    (palette PNGs as published)
"""
    download: ClassVar[str] = "the 10 image and 10 label archives of the project page download.visinf.tu-darmstadt.de/data/from_games"
    table = label_table(_TRAIN_IDS)

    layouts: ClassVar[tuple[Layout, ...]] = (Layout("as published", "images", "labels", r"(\d{5})\.png", r"(\d{5})\.png"),)


class GTAVDataModule(DomainDataModule):
    """GTAV as a data module."""

    reader = GTAV
