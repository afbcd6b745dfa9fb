"""Dark Zurich (Sakaridis et al., ICCV 2019): 50 labelled night frames to evaluate on."""

from collections.abc import Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import ENCODINGS
from pin_memory.domains.readers.layouts import Layout
from pin_memory.utils.labels import TRAIN_ID_TABLE


class DarkZurich(Domain):
    """The validation frames of Dark Zurich, the only ones with published labels: a target domain."""

    title: ClassVar[str] = "Dark Zurich"
    tree = """
rgb_anon/val/night/<seq>/<name>_rgb_anon.png
gt/val/night/<seq>/<name>_gt_labelTrainIds.png    (or _gt_labelIds.png)
(or both below Dark_Zurich_val_anon/)
"""
    download: ClassVar[str] = "Dark_Zurich_val_anon.zip from trace.ethz.ch/publications/2019/GCMA_UIoU"
    table = TRAIN_ID_TABLE
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"as published, {encoding}",
            "rgb_anon/{split}/night",
            "gt/{split}/night",
            r"(.+)_rgb_anon\.png",
            rf"(.+)_gt_{encoding}\.png",
            {"val": "val"},
            encoding,
            **fields,
        )
        for encoding, fields in ENCODINGS.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "Dark_Zurich_val_anon", "Dark_Zurich_val")
    trainable: ClassVar[bool] = False
    official_counts: Mapping[str, int] = {"val": 50}
    unique_file_names: ClassVar[bool] = True  # they say the sequence
