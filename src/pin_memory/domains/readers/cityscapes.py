"""Cityscapes (Cordts et al., CVPR 2016): 2,975 training and 500 validation frames with fine labels."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout
from pin_memory.utils.labels import IGNORE, label_table

LABEL_IDS = label_table(
    [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]
)
"""Train id of each Cityscapes label id 0..33, which other data sets have, too; (256,) uint8."""

ENCODINGS: Mapping[str, Mapping[str, Any]] = {
    "labelTrainIds": TRAIN_IDS,
    "labelIds": {"table": LABEL_IDS, "raw_ids": frozenset({*range(34), IGNORE})},
}
"""Fields of a `Layout` by the ending of its label files, for data sets that follow Cityscapes; unlabelled pixels of these may be 255."""

_LABELS = {"": "gtFine", ", label zip's folder": "gtFine_trainvaltest/gtFine"}
_IMAGES = {
    "as published": ("leftImg8bit", "leftImg8bit"),
    "image zip's folder": ("leftImg8bit_trainvaltest/leftImg8bit", "leftImg8bit"),
    "blurred faces": ("leftImg8bit_blurred", "leftImg8bit_blurred"),
}


class Cityscapes(Domain):
    """Cityscapes: grey PNGs of label ids. Evaluated on the validation split, since the test labels are not published."""

    title: ClassVar[str] = "Cityscapes"
    tree = """
leftImg8bit/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
"""
    download: ClassVar[str] = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com (after registration)"
    table = LABEL_IDS
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"{tree}{label_part}, {encoding}",
            f"{images}/{{split}}",
            f"{labels}/{{split}}",
            rf"(.+)_{ending}\.png",
            rf"(.+)_gtFine_{encoding}\.png",
            TRAIN_AND_VAL,
            encoding,
            **fields,
        )
        for tree, (images, ending) in _IMAGES.items()
        for encoding, fields in {"labelIds": {"raw_ids": range(34)}, "labelTrainIds": TRAIN_IDS}.items()
        for label_part, labels in _LABELS.items()
    )
    official_counts: Mapping[str, int] = {"train": 2975, "val": 500}
    unique_file_names: ClassVar[bool] = True  # they say the city
