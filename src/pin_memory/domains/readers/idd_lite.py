"""IDD Lite (a small release of IDD; Varma et al., WACV 2019): 1,403 training and 204 validation frames, 7 classes of IDD's level 1."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Layout
from pin_memory.utils.labels import IGNORE, ClassNames, LabelSpace, label_table

LEVEL_1 = LabelSpace(
    ("drivable", "non-drivable", "living thing", "vehicle", "roadside object", "far object", "sky"),
    np.array([(128, 64, 128), (244, 35, 232), (220, 20, 60), (0, 0, 142), (190, 153, 153), (70, 70, 70), (70, 130, 180)], np.uint8),
)
"""The coarsest level of IDD's classes, in colours of Cityscapes."""

_IDS: Mapping[str, Any] = {
    "splits": TRAIN_AND_VAL,
    "raw_ids": frozenset({*range(len(LEVEL_1)), IGNORE}),
    "class_names": ClassNames("idd_lite", dict(enumerate(LEVEL_1.names))),
}


class IDDLite(Domain):
    """IDD Lite: JPEG images of 320 x 227 and grey PNGs of level 1 ids; no drive is in both splits. Evaluated on the validation split.

    Its classes are no classes of the 19, so that it shares a run with other data sets by `label_space=idd_level1` alone.
    """

    title = "IDD Lite"
    tree = """
leftImg8bit/{train,val}/<drive>/<frame>_image.jpg
gtFine/{train,val}/<drive>/<frame>_label.png
(or both below idd20k_lite/; or images/{train,val}/<drive>_<frame>.jpg and labels/{train,val}/<drive>_<frame>.png)
"""
    download = "idd-lite.tar.gz (IDD Lite) from idd.insaan.iiit.ac.in (after registration)"
    table = label_table(list(range(len(LEVEL_1))))
    layouts = (
        Layout("as published", "leftImg8bit/{split}", "gtFine/{split}", r"(.+)_image\.jpg", r"(.+)(?<!_inst)_label\.png", **_IDS),
        Layout("images and labels by split", "images/{split}", "labels/{split}", r"(\d+_.+)\.jpg", r"(\d+_.+)\.png", **_IDS),
    )
    inner_roots = ("", "idd20k_lite", "idd_lite")
    label_space = LEVEL_1
    classes = LEVEL_1.names
    official_counts = {"train": 1403, "val": 204}
