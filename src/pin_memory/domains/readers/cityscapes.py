"""Cityscapes (Cordts et al., CVPR 2016): 2,975 training and 500 validation frames with fine labels."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Layout
from pin_memory.utils.labels import TRAIN_ID_TABLE, TRAIN_ID_VALUES, label_table

# Label ids 0..33.
_TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]

_ENCODINGS = {"labelIds": None, "labelTrainIds": TRAIN_ID_TABLE}
_LABELS = {"": "gtFine", ", label zip's folder": "gtFine_trainvaltest/gtFine"}
_IMAGES = {
    "as published": ("leftImg8bit", "leftImg8bit"),
    "image zip's folder": ("leftImg8bit_trainvaltest/leftImg8bit", "leftImg8bit"),
    "blurred faces": ("leftImg8bit_blurred", "leftImg8bit_blurred"),
}


class Cityscapes(Domain):
    """Cityscapes: grey PNGs of label ids. Tested on the validation split, since the test labels are not published."""

    title: ClassVar[str] = "Cityscapes"
    tree = """
leftImg8bit/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
"""
    download: ClassVar[str] = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com (after registration)"
    table = label_table(_TRAIN_IDS)
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"{tree}{label_part}, {encoding}",
            f"{images}/{{split}}",
            f"{labels}/{{split}}",
            rf"(.+)_{ending}\.png",
            rf"(.+)_gtFine_{encoding}\.png",
            TRAIN_AND_VAL,
            encoding,
            table,
        )
        for tree, (images, ending) in _IMAGES.items()
        for encoding, table in _ENCODINGS.items()
        for label_part, labels in _LABELS.items()
    )
    official_counts: Mapping[str, int] = {"train": 2975, "val": 500}

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == "labelTrainIds" else range(len(_TRAIN_IDS))

    def sample_name(self, key: str) -> str:
        """The name of the frame, which says the city again."""
        return key.rsplit("/", 1)[-1]
