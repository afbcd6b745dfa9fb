"""Nighttime Driving (Dai and Van Gool, ITSC 2018): 50 coarsely labelled night frames to evaluate on."""

from collections.abc import Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import ENCODINGS
from pin_memory.domains.readers.layouts import Layout
from pin_memory.utils.labels import TRAIN_ID_TABLE


class NighttimeDriving(Domain):
    """The test frames of Nighttime Driving, the only labelled ones: a target domain. The splits "val" and "test" are the same frames."""

    title: ClassVar[str] = "Nighttime Driving"
    tree = """
NighttimeDrivingTest/leftImg8bit/test/night/<name>_leftImg8bit.png
NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/<name>_gtCoarse_labelTrainIds.png    (or _labelIds.png)
(or leftImg8bit/ and gtCoarse_daytime_trainvaltest/ directly)
"""
    download: ClassVar[str] = "NighttimeDrivingTest.zip from data.vision.ee.ethz.ch/daid/NighttimeDriving"
    table = TRAIN_ID_TABLE
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"as published, {encoding}",
            "leftImg8bit/{split}/night",
            "gtCoarse_daytime_trainvaltest/{split}/night",
            r"(.+)_leftImg8bit\.png",
            rf"(.+)_gtCoarse_{encoding}\.png",
            {"val": "test", "test": "test"},
            encoding,
            **fields,
        )
        for encoding, fields in ENCODINGS.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "NighttimeDrivingTest")
    test_split: ClassVar[str] = "test"
    trainable: ClassVar[bool] = False
    official_counts: Mapping[str, int] = {"test": 50}
