"""Cityscapes (Cordts et al., CVPR 2016): 2,975 training and 500 validation frames with fine labels."""

from typing import ClassVar

import numpy as np

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.listing import Sample, find_files

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
    table: ClassVar[np.ndarray] = label_table(_TRAIN_IDS)

    def find_samples(self) -> list[Sample]:
        """List the frames of the split."""
        split = "train" if self.split == "train" else "val"
        images = find_files(self.folder(f"leftImg8bit/{split}"), r"(.+)_leftImg8bit\.png")
        labels = find_files(self.folder(f"gtFine/{split}"), r"(.+)_gtFine_labelIds\.png")
        # The frame's name says the city again.
        return [Sample(pair.image.name.removesuffix("_leftImg8bit.png"), pair.image, pair.label) for pair in self.pair(images, labels)]


class CityscapesDataModule(DomainDataModule):
    """Cityscapes as a data module."""

    reader = Cityscapes
