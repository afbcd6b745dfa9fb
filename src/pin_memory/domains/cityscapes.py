"""Cityscapes (Cordts et al., CVPR 2016): 2,975 training and 500 validation frames with fine labels."""

from typing import ClassVar

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import TRAIN_AND_VAL, Layout

# Label ids 0..33.
_TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]


class Cityscapes(Domain):
    """Cityscapes: grey PNGs of label ids. Tested on the validation split, since the test labels are not published."""

    title: ClassVar[str] = "Cityscapes"
    tree: ClassVar[str] = """
leftImg8bit/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
"""
    download: ClassVar[str] = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com (after registration)"
    table = label_table(_TRAIN_IDS)
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "as published", "leftImg8bit/{split}", "gtFine/{split}", r"(.+)_leftImg8bit\.png", r"(.+)_gtFine_labelIds\.png", TRAIN_AND_VAL
        ),
    )

    def sample_name(self, key: str) -> str:
        """The name of the frame, which says the city again."""
        return key.rsplit("/", 1)[-1]


class CityscapesDataModule(DomainDataModule):
    """Cityscapes as a data module."""

    reader = Cityscapes
