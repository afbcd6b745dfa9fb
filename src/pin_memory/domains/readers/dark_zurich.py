"""Dark Zurich (Sakaridis et al., ICCV 2019): 50 labelled night frames to judge on."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.layouts import Found, Layout
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE, TRAIN_ID_TABLE, TRAIN_ID_VALUES

_ENCODINGS = {"labelTrainIds": TRAIN_ID_TABLE, "labelIds": Cityscapes.table}


class DarkZurich(Domain):
    """The validation frames of Dark Zurich, the only ones with published labels: a target domain."""

    title: ClassVar[str] = "Dark Zurich"
    tree = """
rgb_anon/val/night/<seq>/<name>_rgb_anon.png
gt/val/night/<seq>/<name>_gt_labelTrainIds.png    (or _gt_labelIds.png)
(or both below Dark_Zurich_val_anon/)
"""
    download: ClassVar[str] = "Dark_Zurich_val_anon.zip from trace.ethz.ch/publications/2019/GCMA_UIoU"
    table = _ENCODINGS["labelTrainIds"]
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"as published, {encoding}",
            "rgb_anon/{split}/night",
            "gt/{split}/night",
            r"(.+)_rgb_anon\.png",
            rf"(.+)_gt_{encoding}\.png",
            {"val": "val"},
            encoding=encoding,
            table=table,
        )
        for encoding, table in _ENCODINGS.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "Dark_Zurich_val_anon", "Dark_Zurich_val")
    official_counts: Mapping[str, int] = {"val": 50}

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == "labelTrainIds" else {*range(34), IGNORE}

    def find(self) -> Found:
        """Recognise the layout and list its files.

        Raises:
            DataError: As in `Domain`.
            ConfigurationError: Frames to train on are asked for.
        """
        if self.split == "train":
            raise ConfigurationError(
                f"{self.title}: only its 50 validation frames have labels, so there is nothing to train on. Use it as a target domain "
                "(data.targets), where these are judged on."
            )
        return super().find()

    def sample_name(self, key: str) -> str:
        """The name of the frame, which says the sequence."""
        return key.rsplit("/", 1)[-1]
