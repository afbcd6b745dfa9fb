"""IDD (India Driving Dataset; Varma et al., WACV 2019): part I with 6,993 training and 981 validation frames, and part II."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.decoding import read_indices
from pin_memory.domains.readers.idd_polygons import ID_TABLE, IDS, cached_polygons, read_polygons
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Found, Layout
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CLASSES, IGNORE, label_table

_FIRST_DRIVE_OF_PART_2 = 200  # drives 0..199 are part I, those from 201 on part II; there is no drive 200

_LEVEL_3 = {0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2, 24: 8, 25: 10}
_LEVEL_3_NOTE = (
    "the labels are level3Ids, which cannot tell the 19 classes: rail track counts as terrain, animal as person, fallback background as "
    "sky, polegroup as pole, and trains are ignored. Get the polygons (gtFine/**/*_polygons.json) for numbers to compare"
)

# The kinds of labels, the preferred one first: file name, and fields of the layout.
_POLYGONS, _LOSSY = "polygons", "level3Ids"
_KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ids": (r"(.+)_gtFine_(?i:labelids)\.png", {"raw_ids": range(IDS)}),
    "csTrainIds": (r"(.+)_gtFine_(?i:labelcsTrainIds)\.png", TRAIN_IDS),
    _POLYGONS: (r"(.+)_gtFine_polygons\.json", {"raw_ids": range(IDS)}),
    _LOSSY: (r"(.+)_gtFine_(?i:labellevel3Ids)\.png", {"table": label_table(_LEVEL_3), "raw_ids": frozenset({*range(26), IGNORE})}),
}
_TREES = {
    "as published": ("leftImg8bit/{split}", "gtFine/{split}"),
    "archives' folders": ("leftImg8bit_trainvaltest/leftImg8bit/{split}", "gtFine_trainvaltest/gtFine/{split}"),
}
# Training frames of part II are not listed anywhere public.
_COUNTS: Mapping[tuple[int, ...], Mapping[str, int]] = {(1,): {"train": 6993, "val": 981}, (2,): {"val": 1055}, (1, 2): {"val": 2036}}


class IDD(Domain):
    """IDD: polygons in JSON files, drawn as the data set's own tool draws them, or the PNGs that it makes. Evaluated on validation.

    Both parts may lie in one folder, or side by side. "IDD" in papers is part I.

    Args:
        parts: 1, 2 or both; told apart by the numbers of the drives.
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
    table = ID_TABLE
    layouts = tuple(
        Layout(f"{tree}, {kind}", images, labels, r"(.+)_leftImg8bit\.(?:png|jpg)", label, TRAIN_AND_VAL, kind, **fields)
        for kind, (label, fields) in _KINDS.items()
        for tree, (images, labels) in _TREES.items()
    )
    inner_roots = ("", "IDD_Segmentation", "idd20kII")
    official_counts = _COUNTS[(1,)]

    def __init__(self, root: str | Path, split: str, *, parts: Sequence[int] = (1,), cache_polygons: bool = True, **options: Any) -> None:
        self.parts = tuple(sorted(set(parts)))
        if self.parts not in _COUNTS:
            raise ConfigurationError(f"IDD: parts={list(parts)} is none of [1], [2] and [1, 2].")
        self.cache_polygons = cache_polygons
        self.official_counts = _COUNTS[self.parts]
        super().__init__(root, split, **options)
        if self.parts == (1,) or self.layout.encoding == _LOSSY:
            # No train was labelled in part I; level3Ids cannot tell trains.
            self.classes = tuple(name for name in CLASSES if name != "train")
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
