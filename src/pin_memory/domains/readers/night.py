"""Night frames to evaluate on, 50 each: Dark Zurich (Sakaridis et al., ICCV 2019), Nighttime Driving (Dai and Van Gool, ITSC 2018)."""

from collections.abc import Mapping

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import ENCODINGS
from pin_memory.domains.readers.layouts import Layout
from pin_memory.utils.labels import TRAIN_ID_TABLE


def _layouts(images: str, labels: str, image: str, label: str, splits: Mapping[str, str]) -> tuple[Layout, ...]:
    """The published tree with either encoding of the labels, from folders and endings of images and of labels."""
    return tuple(
        Layout(f"as published, {kind}", images, labels, rf"(.+)_{image}\.png", rf"(.+)_{label}_{kind}\.png", splits, kind, **fields)
        for kind, fields in ENCODINGS.items()
    )


class DarkZurich(Domain):
    """The validation frames of Dark Zurich, the only ones with published labels: a target domain."""

    title = "Dark Zurich"
    tree = """
rgb_anon/val/night/<seq>/<name>_rgb_anon.png
gt/val/night/<seq>/<name>_gt_labelTrainIds.png    (or _gt_labelIds.png)
(or both below Dark_Zurich_val_anon/)
"""
    download = "Dark_Zurich_val_anon.zip from trace.ethz.ch/publications/2019/GCMA_UIoU"
    table = TRAIN_ID_TABLE
    layouts = _layouts("rgb_anon/{split}/night", "gt/{split}/night", "rgb_anon", "gt", {"val": "val"})
    inner_roots = ("", "Dark_Zurich_val_anon", "Dark_Zurich_val")
    trainable = False
    official_counts = {"val": 50}
    unique_file_names = True  # they say the sequence


class NighttimeDriving(Domain):
    """The test frames of Nighttime Driving, the only labelled ones: a target domain. The splits "val" and "test" are the same frames."""

    title = "Nighttime Driving"
    tree = """
NighttimeDrivingTest/leftImg8bit/test/night/<name>_leftImg8bit.png
NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/<name>_gtCoarse_labelTrainIds.png    (or _labelIds.png)
(or leftImg8bit/ and gtCoarse_daytime_trainvaltest/ directly)
"""
    download = "NighttimeDrivingTest.zip from data.vision.ee.ethz.ch/daid/NighttimeDriving"
    table = TRAIN_ID_TABLE
    layouts = _layouts(
        "leftImg8bit/{split}/night",
        "gtCoarse_daytime_trainvaltest/{split}/night",
        "leftImg8bit",
        "gtCoarse",
        {"val": "test", "test": "test"},
    )
    inner_roots = ("", "NighttimeDrivingTest")
    test_split = "test"
    trainable = False
    official_counts = {"test": 50}
