"""IDD (India Driving Dataset; Varma et al., WACV 2019): part I with 6,993 training and 981 validation frames, and part II."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pin_memory.domains.readers.base import Domain, Transform
from pin_memory.domains.readers.decoding import read_indices
from pin_memory.domains.readers.idd_polygons import ID_TABLE, IDS, cached_polygons, read_polygons
from pin_memory.domains.readers.layouts import SPLITS, TRAIN_AND_VAL, Found, Layout
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CLASSES, IGNORE, TRAIN_ID_TABLE, TRAIN_ID_VALUES, label_table

_FIRST_DRIVE_OF_PART_2 = 200  # drives 0..199 are part I, those from 201 on part II; there is no drive 200

_LEVEL_3 = {0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2, 24: 8, 25: 10}
_LEVEL_3_NOTE = (
    "the labels are level3Ids, which cannot tell the 19 classes: rail track counts as terrain, animal as person, fallback background as "
    "sky, polegroup as pole, and trains are ignored. Get the polygons (gtFine/**/*_polygons.json) for numbers to compare"
)

# The kinds of labels, the preferred one first: file name, and table if it is not that of IDD's ids.
_TRAIN_IDS, _POLYGONS, _LOSSY = "csTrainIds", "polygons", "level3Ids"
_KINDS = {
    "ids": (r"(.+)_gtFine_(?i:labelids)\.png", None),
    _TRAIN_IDS: (r"(.+)_gtFine_(?i:labelcsTrainIds)\.png", TRAIN_ID_TABLE),
    _POLYGONS: (r"(.+)_gtFine_polygons\.json", None),
    _LOSSY: (r"(.+)_gtFine_(?i:labellevel3Ids)\.png", label_table(_LEVEL_3)),
}
_TREES = {
    "as published": ("leftImg8bit", "gtFine"),
    "archives' folders": ("leftImg8bit_trainvaltest/leftImg8bit", "gtFine_trainvaltest/gtFine"),
}
# Training frames of part II are not listed anywhere public.
_COUNTS: Mapping[tuple[int, ...], Mapping[str, int]] = {(1,): {"train": 6993, "val": 981}, (2,): {"val": 1055}, (1, 2): {"val": 2036}}


class IDD(Domain):
    """IDD: polygons in JSON files, drawn as the data set's own tool draws them, or the PNGs that this tool makes. Tested on validation.

    Both parts may lie in one folder, or side by side. "IDD" in papers is part I.
    """

    title: ClassVar[str] = "IDD (India Driving Dataset, segmentation)"
    tree = """
leftImg8bit/{train,val}/<drive>/<frame>_leftImg8bit.png    (or .jpg)
gtFine/{train,val}/<drive>/<frame>_gtFine_polygons.json    (or _labelids.png, _labelcsTrainIds.png, _labellevel3Ids.png)
(or both below IDD_Segmentation/ and, part II, idd20kII/)
"""
    download: ClassVar[str] = (
        "idd-segmentation.tar.gz (IDD Segmentation, IDD 20k part I) and idd-20k-II.tar.gz (part II) from idd.insaan.iiit.ac.in "
        "(after registration)"
    )
    table = ID_TABLE
    layouts: tuple[Layout, ...] = tuple(
        Layout(
            f"{tree}, {kind}",
            f"{images}/{{split}}",
            f"{labels}/{{split}}",
            r"(.+)_leftImg8bit\.(?:png|jpg)",
            label,
            TRAIN_AND_VAL,
            kind,
            table,
        )
        for kind, (label, table) in _KINDS.items()
        for tree, (images, labels) in _TREES.items()
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "IDD_Segmentation", "idd20kII")
    official_counts: Mapping[str, int] = _COUNTS[(1,)]

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
        """List the samples of a split.

        Args:
            root: As in `Domain`.
            split: As in `Domain`.
            transform: As in `Domain`.
            parts: 1, 2 or both; told apart by the numbers of the drives.
            cache_polygons: Keep drawn polygons in the user's cache folder.
            options: As in `Domain`.

        Raises:
            DataError: As in `Domain`, or a part is not there.
            ConfigurationError: As in `Domain`, or there is no such part.
        """
        self.parts = tuple(sorted(set(parts)))
        if self.parts not in _COUNTS:
            raise ConfigurationError(f"IDD: parts={list(parts)} is none of [1], [2] and [1, 2].")
        self.cache_polygons = cache_polygons
        self.official_counts = _COUNTS[self.parts]
        super().__init__(root, split, transform, **options)
        if self.parts == (1,) or self.layout.encoding == _LOSSY:
            # No train was labelled in part I; level3Ids cannot tell trains.
            self.classes = tuple(name for name in CLASSES if name != "train")
        if self.layout.encoding == _LOSSY:
            self.note(_LEVEL_3_NOTE)

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label may hold."""
        return {_TRAIN_IDS: TRAIN_ID_VALUES, _LOSSY: {*range(26), IGNORE}}.get(self.layout.encoding, range(IDS))

    def find(self) -> Found:
        """List the files of the parts, with the best kind of labels that is there for all of their images.

        Raises:
            MissingDataError: None of the known trees, or no frame of a part, is there.
        """
        kinds: dict[str, Found] = {}
        for kind in _KINDS:
            if kind == _LOSSY and any(found.labels for found in kinds.values()):
                break
            kinds[kind] = self._of_kind(kind)
            self._require_parts(kinds[kind].images)
            if not kinds[kind].lonely_images:
                break
        return kinds[self._choose(kinds)]

    def _of_kind(self, kind: str) -> Found:
        """The images of the parts, and their labels of a kind."""
        splits = SPLITS if self.split_file is not None else (self.folder_split,)
        layouts = [layout for layout in self.layouts if layout.encoding == kind]
        hits = [layout.find(self.root / inner, splits) for layout in layouts for inner in self.inner_roots]
        founds = [self._of_parts(hit) for hit in hits if hit and hit.images]
        return _union(self.root, founds) if founds else super().find()

    def _of_parts(self, found: Found) -> Found:
        """Those of the files that belong to the parts."""
        images, labels = ({key: path for key, path in files.items() if _part(key) in self.parts} for files in (found.images, found.labels))
        return replace(found, images=images, labels=labels)

    def _require_parts(self, images: Mapping[str, Path]) -> None:
        """Refuse to go on without one of the parts that were asked for."""
        if absent := set(self.parts) - {_part(key) for key in images}:
            drives = {1: "part I (drives 0 to 199)", 2: "part II (drives from 201 on)"}
            raise self.missing(
                f"no image of {' and '.join(drives[part] for part in sorted(absent))} for the split {self.split!r}; "
                f"the option parts={list(self.parts)} names what to read"
            )

    def _choose(self, kinds: Mapping[str, Found]) -> str:
        """The kind of labels to read: that of the most images, the preferred one among equals."""
        missing = {kind: len(found.lonely_images) for kind, found in kinds.items() if found.labels} or {_POLYGONS: 0}
        best, preferred = min(missing, key=lambda kind: missing[kind]), next(iter(missing))
        if best != preferred:
            count = len(kinds[best].images)
            self.note(f"{missing[preferred]} of {count} images have no label of {preferred}; {best} are read for all")
        return best

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read ids, or draw the polygons of a frame, (H, W) uint8."""
        if self.layout.encoding != _POLYGONS:
            return read_indices(path)
        return cached_polygons(path) if self.cache_polygons else read_polygons(path)


def _part(key: str) -> int:
    """The part of IDD that a frame belongs to, by the number of its drive."""
    drive = key.split("/", 1)[0]
    return 2 if drive.isdigit() and int(drive) >= _FIRST_DRIVE_OF_PART_2 else 1


def _union(root: Path, founds: Sequence[Found]) -> Found:
    """The files of several folders as those of one; the first folder counts for what lies in two."""
    first, *others = [found for found in founds if found.images] or founds
    if not others:
        return first
    names = " + ".join(dict.fromkeys(found.layout.name for found in (first, *others)))
    images = {key: path for found in (*others, first) for key, path in found.images.items()}
    labels = {key: path for found in (*others, first) for key, path in found.labels.items()}
    return Found(replace(first.layout, name=names), root, images, labels)
