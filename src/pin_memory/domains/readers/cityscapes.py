"""Cityscapes (Cordts et al., CVPR 2016): 2,975 training and 500 validation frames with fine labels."""

from collections.abc import Mapping
from typing import Any

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout
from pin_memory.utils.labels import IGNORE, ClassNames, label_table

LABEL_IDS = label_table(
    [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]
)
"""Train id of each Cityscapes label id 0..33, which other data sets have, too; (256,) uint8."""

_NAMES = (
    "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking, rail track, building, "
    "wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, "
    "truck, bus, caravan, trailer, train, motorcycle, bicycle, license plate"
)
LABEL_NAMES = ClassNames("cityscapes", {raw: name for raw, name in enumerate(_NAMES.split(", ")) if raw > 3})
"""What the label ids are called, without those of no thing; 34 occurs in GTAV alone."""

ENCODINGS: Mapping[str, Mapping[str, Any]] = {
    "labelTrainIds": TRAIN_IDS,
    "labelIds": {"table": LABEL_IDS, "raw_ids": frozenset({*range(34), IGNORE}), "class_names": LABEL_NAMES},
}
"""Fields of a `Layout` by the ending of its label files, for data sets that follow Cityscapes; unlabelled pixels of these may be 255."""

_IMAGES = {
    "as published": ("leftImg8bit/{split}", "leftImg8bit"),
    "image zip's folder": ("leftImg8bit_trainvaltest/leftImg8bit/{split}", "leftImg8bit"),
    "blurred faces": ("leftImg8bit_blurred/{split}", "leftImg8bit_blurred"),
}
_LABELS = {"": "gtFine/{split}", ", label zip's folder": "gtFine_trainvaltest/gtFine/{split}"}


class Cityscapes(Domain):
    """Cityscapes: grey PNGs of label ids. Evaluated on the validation split, since the test labels are not published."""

    title = "Cityscapes"
    tree = """
leftImg8bit/{train,val}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
gtFine/{train,val}/<city>/<city>_<seq>_<frame>_gtFine_labelIds.png
"""
    download = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com (after registration)"
    table = LABEL_IDS
    layouts = tuple(
        Layout(f"{tree}{part}, {kind}", images, labels, rf"(.+)_{ending}\.png", rf"(.+)_gtFine_{kind}\.png", TRAIN_AND_VAL, kind, **fields)
        for tree, (images, ending) in _IMAGES.items()
        for kind, fields in {"labelIds": {"raw_ids": range(34), "class_names": LABEL_NAMES}, "labelTrainIds": TRAIN_IDS}.items()
        for part, labels in _LABELS.items()
    )
    official_counts = {"train": 2975, "val": 500}
    unique_file_names = True  # they say the city
