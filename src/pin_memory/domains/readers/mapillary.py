"""Mapillary Vistas (Neuhold et al., ICCV 2017): 18,000 training and 2,000 validation images of many sizes.

There is no official map of the classes of its versions 1.2 and 2.0 to the 19.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout, recognise
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import IGNORE, label_table
from pin_memory.utils.safe_load import read_json

V1_2 = tuple(
    f"{group}--{name}"
    for group, names in {
        "animal": "bird ground-animal",
        "construction--barrier": "curb fence guard-rail other-barrier wall",
        "construction--flat": "bike-lane crosswalk-plain curb-cut parking pedestrian-area rail-track road service-lane sidewalk",
        "construction--structure": "bridge building tunnel",
        "human": "person rider--bicyclist rider--motorcyclist rider--other-rider",
        "marking": "crosswalk-zebra general",
        "nature": "mountain sand sky snow terrain vegetation water",
        "object": "banner bench bike-rack billboard catch-basin cctv-camera fire-hydrant junction-box mailbox manhole phone-booth pothole "
        "street-light support--pole support--traffic-sign-frame support--utility-pole traffic-light traffic-sign--back traffic-sign--front "
        "trash-can",
        "object--vehicle": "bicycle boat bus car caravan motorcycle on-rails other-vehicle trailer truck wheeled-slow",
        "void": "car-mount ego-vehicle unlabeled",
    }.items()
    for name in names.split()
)
"""Names of the 66 classes of version 1.2, as in its config.json; the position is the label id."""

# Train ids by label id of version 1.2.
_ROBUSTNET = {
    **{13: 0, 24: 0, 41: 0},  # road, lane marking, manhole
    **{2: 1, 15: 1},  # curb, sidewalk
    **{17: 2, 6: 3, 3: 4},  # building, wall, fence
    **{45: 5, 47: 5, 48: 6, 50: 7},  # pole, utility pole, traffic light, traffic sign (front)
    **{30: 8, 29: 9, 27: 10},  # vegetation, terrain, sky
    **{19: 11, 20: 12, 21: 12, 22: 12},  # person, bicyclist, motorcyclist, other rider
    **{55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18},  # car, truck, bus, on rails, motorcycle, bicycle
}
_REIN = _ROBUSTNET | {
    **{7: 0, 8: 0, 10: 0, 14: 0, 23: 0, 41: IGNORE},  # bike lane, plain crosswalk, parking, service lane, zebra; manhole
    **{9: 1, 11: 1},  # curb cut, pedestrian area
    **{44: 5, 46: 7, 49: 7},  # street light, traffic sign frame, traffic sign (back)
}

_V2_0 = {
    **{21: 0, **dict.fromkeys([*range(35, 45), *range(46, 56), 57, 58], 0), 74: 0},  # road, markings but zebra crossings, manhole
    **{4: 1, 24: 1},  # curb, sidewalk
    **{27: 2, 12: 3, 5: 4},  # building, wall, fence
    **{85: 5, 86: 5, 88: 5},  # pole, pole group, utility pole
    **dict.fromkeys(range(90, 96), 6),  # the six kinds of traffic lights
    **dict.fromkeys([99, 100, 101, 103], 7),  # fronts of traffic signs
    **{64: 8, 63: 9, 61: 10},  # vegetation, terrain, sky
    **{30: 11, 31: 11, 32: 12, 33: 12, 34: 12},  # person, group of persons, riders
    **{108: 13, 114: 14, 107: 15, 111: 16, 110: 17, 105: 18},  # car, truck, bus, on rails, motorcycle, bicycle
}
# Readable names that tell whether a config.json lists the classes of version 2.0 in their order. The traffic lights, whose order differs
# between public lists, are one train id anyway.
_V2_0_NAMES = {4: "Curb", 21: "Road", 24: "Sidewalk", 27: "Building", 30: "Person", 61: "Sky", 63: "Terrain", 64: "Vegetation"}
_V2_0_NAMES |= {85: "Pole", 100: "Traffic Sign (Front)", 105: "Bicycle", 107: "Bus", 108: "Car", 110: "Motorcycle", 114: "Truck"}

_COUNTS = {"v1.2": len(V1_2), "v2.0": 124}  # of classes by version; the last is unlabelled

# Train id of each label id by version and by the family that uses the map: the papers since RobustNet, or Rein and SoMA.
_TABLES = {
    "v1.2": {"robustnet": label_table(_ROBUSTNET), "rein": label_table(_REIN)},
    "v2.0": {"robustnet": label_table(_V2_0)},  # this package's reading in the spirit of "robustnet", since none is published
}

_FOLDERS = {"train": "training", "val": "validation"}
_CONVERTED: Mapping[str, Any] = {"encoding": "train ids", **TRAIN_IDS}
_CONFIGS = {"v1.2": ("config_v1.2.json", "config.json"), "v2.0": ("config_v2.0.json",)}
_REIN_TREE = "cityscapes_trainIdLabel"
_HALF_FILES = (r"(.+)\.(?:jpg|png)", r"(.+?)(?:_labelTrainIds)?\.png")


def _published(version: str, folders: Mapping[str, str]) -> tuple[Layout, ...]:
    """The trees with labels in `folders` (by the tree's name) inside training and validation, as published or converted to train ids."""
    kinds: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "": (r"(.+)(?<!_labelTrainIds)\.png", {"raw_ids": range(_COUNTS[version])}),
        ", labelTrainIds": (r"(.+)_labelTrainIds\.png", _CONVERTED),
    }
    return tuple(
        Layout(tree + kind, "{split}/images", f"{{split}}/{folder}", r"(.+)\.jpg", label, _FOLDERS, **fields)
        for kind, (label, fields) in kinds.items()
        for tree, folder in folders.items()
    )


# The recognised trees by the version of the labels.
_LAYOUTS = {
    "v1.2": (
        *_published("v1.2", {"v1.2 labels of the v2.0 archive": "v1.2/labels", "v1.2 archive": "labels"}),
        # Rein's label folders are named otherwise than those of the images: one layout for each split.
        *(
            Layout(_REIN_TREE, "{split}/images", f"{_REIN_TREE}/{split}/label", r"(.+)\.jpg", r"(.+)\.png", {split: folder}, **_CONVERTED)
            for split, folder in _FOLDERS.items()
        ),
        Layout("half-size copies", "half/{split}_img", "half/{split}_label", *_HALF_FILES, TRAIN_AND_VAL, scale=0.5, **_CONVERTED),
    ),
    "v2.0": _published("v2.0", {"v2.0 archive": "v2.0/labels"}),
}


class Mapillary(Domain):
    """Mapillary Vistas: JPEG images and palette PNGs whose index is the class. Evaluated on the validation split.

    The archive of version 2.0 holds the labels of version 1.2, too, which are read by default since published numbers are of these.

    Args:
        labels: Version of the labels, "v1.2" or "v2.0".
        class_map: How the classes of version 1.2 become the 19: "robustnet" or "rein"; numbers of the two are not comparable. The other
            arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when a config.json lists other classes.
        ConfigurationError: As `Domain`; also when there is no such version or map.
    """

    title = "Mapillary Vistas"
    tree = """
training/{images/<key>.jpg,labels/<key>.png}             (version 1.2)
validation/{images/<key>.jpg,labels/<key>.png}
(or of version 2.0: training/v1.2/labels, training/v2.0/labels, and so on)
"""
    download = "the archive of version 1.2 or 2.0 from mapillary.com/dataset/vistas (after registration)"
    table = _TABLES["v1.2"]["robustnet"]
    layouts = _LAYOUTS["v1.2"]
    official_counts = {"train": 18000, "val": 2000}

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        labels: str = "v1.2",
        class_map: str = "robustnet",
        **options: Any,
    ) -> None:
        if labels not in _TABLES:
            raise ConfigurationError(f"Mapillary: labels={labels!r} is none of {', '.join(_TABLES)} (quote it in YAML).")
        if class_map not in _TABLES["v1.2"]:
            raise ConfigurationError(f"Mapillary: class_map={class_map!r} is none of {', '.join(_TABLES['v1.2'])}.")
        if class_map not in _TABLES[labels]:
            raise ConfigurationError(
                f"Mapillary: class_map={class_map} is a map of version 1.2; its rules give wrong classes for the names of version 2.0, "
                "e.g. no traffic lights. Take labels=v1.2, which the archive of version 2.0 holds, too, or class_map=robustnet."
            )
        self.labels = labels
        self.layouts = _LAYOUTS[labels]
        self.table = _TABLES[labels][class_map]
        super().__init__(root, split, transform, **options)
        if self.layout.encoding == "train ids":
            self.note("the labels are train ids that another tool made: the class map is that tool's, whatever class_map says")
        elif configs := [path for name in _CONFIGS[labels] if (path := self.found.root / name).is_file()]:
            check_config(configs[0], labels)

    def describe_absence(self) -> str:
        """Say so when the labels of the other version are there."""
        other = next(version for version in _LAYOUTS if version != self.labels)
        if recognise(self.root, _LAYOUTS[other], self.inner_roots, self.searched_splits):
            return f"there are labels of {other}, but labels={self.labels} is asked for; set labels: {other} to read them"
        return super().describe_absence()


def check_config(path: Path, version: str) -> None:
    """Refuse a config.json of Mapillary Vistas whose classes are not those of the tables of the version, in their order."""
    expected, key = (dict(enumerate(V1_2)), "name") if version == "v1.2" else (_V2_0_NAMES, "readable")
    try:
        found = [label[key] for label in read_json(path)["labels"]]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a config.json of Mapillary Vistas ({type(error).__name__}: {error}). Get it again.") from error
    if len(found) != _COUNTS[version]:
        raise DataError(
            f"{path}: expected the {_COUNTS[version]} classes of Mapillary Vistas {version}, found {len(found)}. The labels are of another "
            "version: the option `labels` names those to read, v1.2 or v2.0."
        )
    for number, name in expected.items():
        if found[number] != name:
            raise DataError(
                f"{path}: class {number} of Mapillary Vistas {version} is expected to be {name!r}, found {found[number]!r}. "
                "With another order of the classes, labels would be read wrongly. Get the published archive."
            )
