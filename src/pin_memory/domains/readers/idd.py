"""IDD (India Driving Dataset; Varma et al., WACV 2019): part I with 6,993 training and 981 validation frames, and part II."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.label_maps import read_indices
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Found, Layout
from pin_memory.utils.decoding import max_pixels
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.files import atomic_write, cache_folder
from pin_memory.utils.labels import CLASSES, IGNORE, ClassNames, label_table
from pin_memory.utils.safe_load import read_json

# Every class of the data set, in the order of its ids. A name of the 19 means that class, and non-drivable fallback is terrain (9).
_CLASSES = (
    "road, parking, drivable fallback, sidewalk, rail track, non-drivable fallback, person, animal, rider, motorcycle, bicycle, "
    "autorickshaw, car, truck, bus, caravan, trailer, train, vehicle fallback, curb, wall, fence, guard rail, billboard, traffic sign, "
    "traffic light, pole, polegroup, obs-str-bar-fallback, building, bridge, tunnel, vegetation, sky, fallback background, unlabeled, "
    "ego vehicle, rectification border, out of roi, license plate"
)
_IDS = {name: number for number, name in enumerate(_CLASSES.split(", "))}
_TABLE = label_table({_IDS[name]: train_id for train_id, name in enumerate(CLASSES) if name in _IDS} | {_IDS["non-drivable fallback"]: 9})

_VOID = ("unlabeled", "ego vehicle", "rectification border", "out of roi")
_NAMES = ClassNames("idd", {number: name for name, number in _IDS.items() if name not in _VOID})

_FIRST_DRIVE_OF_PART_2 = 200  # drives 0..199 are part I, those from 201 on part II; there is no drive 200

_LEVEL_3 = {0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2, 24: 8, 25: 10}
_LEVEL_3_NOTE = (
    "the labels are level3Ids, which cannot tell the 19 classes: rail track counts as terrain, animal as person, fallback background as "
    "sky, polegroup as pole, and trains are ignored. Get the polygons (gtFine/**/*_polygons.json) for numbers to compare"
)

# The kinds of labels, the preferred one first: file name, and fields of the layout.
_POLYGONS, _LOSSY = "polygons", "level3Ids"
_KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ids": (r"(.+)_gtFine_(?i:labelids)\.png", {"raw_ids": range(len(_IDS)), "class_names": _NAMES}),
    "csTrainIds": (r"(.+)_gtFine_(?i:labelcsTrainIds)\.png", TRAIN_IDS),
    _POLYGONS: (r"(.+)_gtFine_polygons\.json", {"raw_ids": range(len(_IDS)), "class_names": _NAMES}),
    _LOSSY: (r"(.+)_gtFine_(?i:labellevel3Ids)\.png", {"table": label_table(_LEVEL_3), "raw_ids": frozenset({*range(26), IGNORE})}),
}
_TREES = {
    "as published": ("leftImg8bit/{split}", "gtFine/{split}"),
    "archives' folders": ("leftImg8bit_trainvaltest/leftImg8bit/{split}", "gtFine_trainvaltest/gtFine/{split}"),
}
# Training frames of part II are not listed anywhere public.
_COUNTS: Mapping[tuple[int, ...], Mapping[str, int]] = {(1,): {"train": 6993, "val": 981}, (2,): {"val": 1055}, (1, 2): {"val": 2036}}
_MAX_SIDE = 20_000  # pixels, ten times that of the data set
_MAX_BYTES = 2**26  # of a file: 64 MiB, a hundred times that of the data set
_VERSION = 1  # of the drawing: raise it when maps change, so that older ones are drawn anew

log = logging.getLogger(__name__)


class IDD(Domain):
    """IDD: polygons in JSON files, drawn as the data set's own tool draws them, or the PNGs that it makes. Evaluated on validation.

    Both parts may lie in one folder, or side by side. "IDD" in papers is part I.

    Args:
        parts: 1, 2 or both; distinguished by the numbers of the drives.
        cache_polygons: Keep drawn polygons in the user's cache folder. The other arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when a part is not there.
        ConfigurationError: As `Domain`; also when there is no such part.
    """

    title = "IDD (India Driving Dataset, segmentation)"
    tree = """
leftImg8bit/{train,val}/<drive>/<frame>_leftImg8bit.png    (or .jpg)
gtFine/{train,val}/<drive>/<frame>_gtFine_polygons.json    (or _labelids.png, _labelcsTrainIds.png, _labellevel3Ids.png)
(or both below IDD_Segmentation/ and, part II, idd20kII/)
"""
    download = (
        "idd-segmentation.tar.gz (IDD Segmentation, IDD 20k part I) and idd-20k-II.tar.gz (part II) from idd.insaan.iiit.ac.in "
        "(after registration)"
    )
    table = _TABLE
    layouts = tuple(
        Layout(f"{tree}, {kind}", images, labels, r"(.+)_leftImg8bit\.(?:png|jpg)", label, TRAIN_AND_VAL, kind, **fields)
        for kind, (label, fields) in _KINDS.items()
        for tree, (images, labels) in _TREES.items()
    )
    inner_roots = ("", "IDD_Segmentation", "idd20kII")
    official_counts = _COUNTS[(1,)]

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        parts: Sequence[int] = (1,),
        cache_polygons: bool = True,
        **options: Any,
    ) -> None:
        self.parts = tuple(sorted(set(parts)))
        if self.parts not in _COUNTS:
            raise ConfigurationError(f"IDD: parts={list(parts)} is none of [1], [2] and [1, 2].")
        self.cache_polygons = cache_polygons
        self.official_counts = _COUNTS[self.parts]
        super().__init__(root, split, transform, **options)
        if self.parts == (1,) or self.layout.encoding == _LOSSY:
            # No train was labelled in part I; level3Ids cannot tell trains.
            self.classes = tuple(name for name in self.classes if name != "train")
        if self.layout.encoding == _LOSSY:
            self.note(_LEVEL_3_NOTE)

    def find(self) -> Found:
        """List the files of the parts, with the best kind of labels that is there for all of their images."""
        kinds: dict[str, Found] = {}
        for kind in _KINDS:
            if kind == _LOSSY and any(found.labels for found in kinds.values()):
                break
            kinds[kind] = self._find_kind(kind)
            if absent := set(self.parts) - {part_of(key) for key in kinds[kind].images}:
                drives = {1: "part I (drives 0 to 199)", 2: "part II (drives from 201 on)"}
                raise self.missing(
                    f"no image of {' and '.join(drives[part] for part in sorted(absent))} for the split {self.split!r}; "
                    f"the option parts={list(self.parts)} names what to read"
                )
            if not kinds[kind].unpaired_images:
                break
        missing = {kind: len(found.unpaired_images) for kind, found in kinds.items() if found.labels} or {_POLYGONS: 0}
        best, preferred = min(missing, key=lambda kind: missing[kind]), next(iter(missing))
        if best != preferred:
            count = len(kinds[best].images)
            self.note(f"{missing[preferred]} of {count} images have no label of {preferred}; {best} are read for all")
        return kinds[best]

    def _find_kind(self, kind: str) -> Found:
        """The images of the parts, and their labels of a kind, from all trees; the first tree counts for what lies in two."""
        layouts = [layout for layout in self.layouts if layout.encoding == kind]
        hits = [layout.find(self.root / inner, self.searched_splits) for layout in layouts for inner in self.inner_roots]
        founds = [hit for hit in hits if hit and hit.images]
        if not founds:
            return super().find()
        founds = [found for found in founds if any(part_of(key) in self.parts for key in found.images)] or founds[:1]
        names = " + ".join(dict.fromkeys(found.layout.name for found in founds))
        images = {key: path for found in reversed(founds) for key, path in found.images.items() if part_of(key) in self.parts}
        labels = {key: path for found in reversed(founds) for key, path in found.labels.items() if part_of(key) in self.parts}
        return Found(replace(founds[0].layout, name=names), self.root, images, labels)

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read ids, or draw the polygons of a frame, (H, W) uint8."""
        if self.layout.encoding != _POLYGONS:
            return read_indices(path)
        return cached_polygons(path) if self.cache_polygons else read_polygons(path)


def part_of(key: str) -> int:
    """The part of IDD that a frame belongs to, by the number of its drive."""
    drive = key.split("/", 1)[0]
    return 2 if drive.isdigit() and int(drive) >= _FIRST_DRIVE_OF_PART_2 else 1


def rasterize(annotation: dict[str, Any]) -> np.ndarray:
    """Draw the objects of an annotation in their order onto an unlabelled map of IDD's ids, (imgHeight, imgWidth) uint8.

    Objects marked as deleted and polygons of less than three points are left out. A label that is unknown but known without a final "group"
    counts as that; other unknown labels are left out.
    """
    width, height = int(annotation["imgWidth"]), int(annotation["imgHeight"])
    # A damaged number must not ask for all memory.
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE and width * height <= max_pixels()):
        raise ValueError(f"a size of {width}x{height}, not within 1..{_MAX_SIDE} and {max_pixels()} pixels in all")
    canvas = Image.new("L", (width, height), _IDS["unlabeled"])
    draw = ImageDraw.Draw(canvas)
    for item in annotation["objects"]:
        name = item["label"] if item["label"] in _IDS else item["label"].removesuffix("group")
        polygon = [(float(x), float(y)) for x, y in item["polygon"]]
        if name in _IDS and len(polygon) >= 3 and not item.get("deleted"):
            draw.polygon(polygon, fill=_IDS[name])
    return np.array(canvas)


def read_polygons(path: Path) -> np.ndarray:
    """Draw the polygons of a frame, (H, W) uint8 ids of IDD."""
    try:
        return rasterize(read_json(path, _MAX_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, SystemError) as error:
        raise DataError(
            f"{path}: not a complete IDD label: expected JSON with imgWidth, imgHeight and objects of label and polygon, "
            f"found {type(error).__name__}: {error}. Get this file again."
        ) from error


def cached_polygons(path: Path) -> np.ndarray:
    """Draw the polygons of a frame once, and keep the map as a PNG in the user's cache folder.

    A file that changed (another size or time) is drawn anew, and so is one whose map is damaged.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    key = f"{_VERSION}\n{path.absolute()}\n{state.st_size}\n{state.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    entry = cache_folder("idd_polygons", digest[:2]) / f"{digest}.png"
    with suppress(DataError):  # not there yet, or damaged
        return read_indices(entry)
    label = read_polygons(path)
    try:
        with atomic_write(entry) as temporary:
            Image.fromarray(label).save(temporary, compress_level=1)
    except OSError as error:
        log.warning("IDD: drawn polygons cannot be kept in %s (%s); they are drawn each time.", entry.parent, error)
    return label
