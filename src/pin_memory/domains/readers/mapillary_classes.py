"""The classes of Mapillary Vistas 1.2 and 2.0 and the maps that turn them into the 19 Cityscapes classes; there is no official map."""

from pathlib import Path

from pin_memory.utils.errors import DataError
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

COUNTS = {"v1.2": len(V1_2), "v2.0": 124}
"""The number of classes by version; the last is unlabelled."""

TABLES = {
    "v1.2": {"robustnet": label_table(_ROBUSTNET), "rein": label_table(_REIN)},
    "v2.0": {"robustnet": label_table(_V2_0)},  # this package's reading in the spirit of "robustnet", since none is published
}
"""Train id of each label id, (256,) uint8, by version and by the family that uses the map: the papers since RobustNet, or Rein and SoMA."""


def check_config(path: Path, version: str) -> None:
    """Refuse a config.json of Mapillary Vistas whose classes are not those of the tables of the version, in their order."""
    try:
        labels = read_json(path)["labels"]
        names = [label["name"] for label in labels]
        readable = [label["readable"] for label in labels]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: not a config.json of Mapillary Vistas ({type(error).__name__}: {error}). Get it again.") from error
    if version == "v1.2":
        expected, found = dict(enumerate(V1_2)), names
    else:
        expected, found = _V2_0_NAMES, readable
    if len(found) != COUNTS[version]:
        raise DataError(
            f"{path}: expected the {COUNTS[version]} classes of Mapillary Vistas {version}, found {len(found)}. The labels are of another "
            "version: the option `labels` names those to read, v1.2 or v2.0."
        )
    for number, name in expected.items():
        if found[number] != name:
            raise DataError(
                f"{path}: class {number} of Mapillary Vistas {version} is expected to be {name!r}, found {found[number]!r}. "
                "With another order of the classes, labels would be read wrongly. Get the published archive."
            )
