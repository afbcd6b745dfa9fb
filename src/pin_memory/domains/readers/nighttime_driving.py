"""Nighttime Driving (Dai and Van Gool, ITSC 2018): 50 coarsely labelled night frames to judge on."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.layouts import Found, Layout
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE, TRAIN_ID_TABLE, TRAIN_ID_VALUES

_ENCODINGS = {"labelTrainIds": TRAIN_ID_TABLE, "labelIds": Cityscapes.table}


class NighttimeDriving(Domain):
    """The test frames of Nighttime Driving, the only labelled ones: a target domain. The splits "val" and "test" are the same frames."""

    title: ClassVar[str] = "Nighttime Driving"
    tree = """
NighttimeDrivingTest/leftImg8bit/test/night/<name>_leftImg8bit.png
NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/<name>_gtCoarse_labelTrainIds.png    (or _labelIds.png)
(or leftImg8bit/ and gtCoarse_daytime_trainvaltest/ directly)
"""
    download: ClassVar[str] = "NighttimeDrivingTest.zip from data.vision.ee.ethz.ch/daid/NighttimeDriving"
    table = _ENCODINGS["labelTrainIds"]
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"as published, {encoding}",
            "leftImg8bit/{split}/night",
            "gtCoarse_daytime_trainvaltest/{split}/night",
            r"(.+)_leftImg8bit\.png",
            rf"(.+)_gtCoarse_{encoding}\.png",
            {"val": "test", "test": "test"},
            encoding=encoding,
            table=table,
        )
        for encoding, table in _ENCODINGS.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "NighttimeDrivingTest")
    test_split: ClassVar[str] = "test"
    official_counts: Mapping[str, int] = {"test": 50}

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
                f"{self.title}: only its 50 test frames have labels, so there is nothing to train on. Use it as a target domain "
                "(data.targets), where these are judged on."
            )
        return super().find()
