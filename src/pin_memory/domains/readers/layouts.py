"""How a data set lies on disk: the folder trees that a reader recognises, the files that were found, and the error without any."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.real_files import file_identity, find_files, one_name_each
from pin_memory.utils.errors import DataError, first_names
from pin_memory.utils.labels import TRAIN_ID_TABLE, TRAIN_ID_VALUES, ClassNames
from pin_memory.utils.names import near_match

SPLITS = ("train", "val", "test")
"""What a reader can be asked for; "test" is the split that a target domain is evaluated on."""

TRAIN_AND_VAL: Mapping[str, str] = {"train": "train", "val": "val"}
"""Split folders of data sets whose test labels are not published."""

TRAIN_IDS: Mapping[str, Any] = {"table": TRAIN_ID_TABLE, "raw_ids": TRAIN_ID_VALUES}
"""Fields of a `Layout` whose labels hold train ids."""

DEMO = "To see everything run without any data set, on drawn stand-ins:\n    python -m pin_memory.train experiment=demo"


Images = Mapping[Hashable, Path]
"""Image files, by what all names of a file share."""


class MissingDataError(DataError):
    """A data set that is not where it was looked for.

    Attributes:
        report: What was expected, what was found and where to get it, without the hint at the demo that ends the message.
    """

    def __init__(self, report: str) -> None:
        """Make the error from its `report`."""
        self.report = report
        super().__init__(f"{report}\n\n{DEMO}")


@dataclass(frozen=True)
class Sample:
    """One image with its label file.

    Attributes:
        name: Unique within the domain and usable as a file name.
        image: The image file.
        label: The label file.
    """

    name: str
    image: Path
    label: Path

    @cached_property
    def image_identity(self) -> Hashable:
        """What all names of the image file share; looked up once, as a data set has many files."""
        return file_identity(self.image)


@dataclass(frozen=True)
class Layout:
    """One way a data set lies on disk; nothing needs to be renamed, moved or converted for a reader that knows it."""

    name: str  # in reports
    images: str  # folder below the root; "{split}" stands for the folder of the split; without it all splits share the folder
    labels: str  # likewise
    image: str  # pattern of an image's complete file name, whose first group is the key that image and label share
    label: str  # likewise
    splits: Mapping[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})  # folder of each split that exists
    encoding: str = "ids"  # of the labels, for reports and for the reader's `read_raw_label`
    table: np.ndarray | None = field(default=None, compare=False, repr=False)  # train ids as in `Domain.table`; None for the reader's own
    raw_ids: Collection[int] | None = None  # the values that a label may hold; None where that is not known
    class_names: ClassNames | None = field(default=None, compare=False, repr=False)  # of raw ids; None: those of the train ids they become
    scale: float = 1.0  # size of images and labels over that of the original data set
    # False: only files directly in the folders count. Then another tree's split folders in the same place are not taken for this tree,
    # and a training folder without its validation folder cannot be split once more without notice.
    recursive: bool = True

    @property
    def by_folder(self) -> bool:
        """Whether the splits are folders."""
        return "{split}" in self.images

    def split_folders(self, splits: Sequence[str]) -> list[str]:
        """What "{split}" stands for in turn when these splits are read together; a layout without split folders has one for all."""
        return list(dict.fromkeys(self.splits[split] for split in splits if split in self.splits)) if self.by_folder else [""]

    def find(self, root: Path, splits: Sequence[str]) -> "Found | None":
        """List the files of some splits below the root of the data set; None when one of the folders is missing."""
        found = Found(self, root, {}, {})
        exists = False
        for inner in self.split_folders(splits):
            folders = [root / part.replace("{split}", inner) for part in (self.images, self.labels)]
            if not all(folder.is_dir() for folder in folders):
                continue
            exists = True
            for files, folder, name in zip((found.images, found.labels), folders, (self.image, self.label), strict=True):
                more = find_files(folder, name, self.recursive)
                common = sorted(files.keys() & more.keys())  # a list of names could mean either
                if twice := [key for key in common if file_identity(files[key]) != file_identity(more[key])]:
                    both = f"{files[twice[0]]} and {more[twice[0]]}"
                    raise DataError(f"Two splits hold a file of the name {twice[0]!r}, but are read together: {both}.")
                files |= more
        only_folders = not self.recursive and not found.images and exists and any(path.is_dir() for path in (root / self.images).iterdir())
        return found if exists and not only_folders else None


@dataclass(frozen=True)
class Found:
    """The files of a data set, by the key that an image and its label share."""

    layout: Layout
    root: Path  # where the layout starts
    images: dict[str, Path]
    labels: dict[str, Path]

    @property
    def unpaired_images(self) -> list[str]:
        """Keys of images without a label, sorted."""
        return sorted(self.images.keys() - self.labels.keys())

    @property
    def unpaired_labels(self) -> list[str]:
        """Keys of labels without an image, sorted."""
        return sorted(self.labels.keys() - self.images.keys())

    def nearly_paired(self, key: str) -> str:
        """Name the label without an image that nearly has the key of an image without a label, in a sentence; empty where none has."""
        return near_match(key, self.unpaired_labels)

    def without_repeats(self) -> "Found":
        """Leave out files that have no partner and are but another name (a link) of a file that is there."""
        paired = self.images.keys() & self.labels.keys()
        parts = [dict(files) for files in (self.images, self.labels)]
        known: set[Hashable] = set()
        if any(files.keys() - paired for files in parts):
            known = {file_identity(files[key]) for files in parts for key in paired}
        for files in parts:
            for key in sorted(files.keys() - paired):
                if (own := file_identity(files[key])) in known:
                    del files[key]
                known.add(own)
        return replace(self, images=parts[0], labels=parts[1])

    def pairs(self, unique_file_names: bool) -> list[Sample]:
        """The samples, sorted by names that are usable as file names; folders are part of them unless file names are unique."""
        samples = []
        for key in self.images.keys() & self.labels.keys():
            name = key.rsplit("/", 1)[-1] if unique_file_names else key.replace("/", "_")
            samples.append(Sample(name, self.images[key], self.labels[key]))
        return sorted(samples, key=lambda sample: sample.name)


def one_sample_each(samples: Sequence[Sample], root: Path, note: Callable[[str], None]) -> list[Sample]:
    """Each image file once, whatever links give it further names; what is left out is noted."""
    kept = one_name_each({sample.image: sample.image_identity for sample in samples}, root)
    for sample in samples:
        if sample.image_identity == file_identity(sample.label):
            raise DataError(f"{sample.image} and its label {sample.label} are one file, by a link. Put the label itself there.")
    if len(kept) == len(samples):
        return list(samples)
    if again := [str(sample.image) for sample in samples if sample.image not in kept]:
        note(f"{len(again)} images are links to images that are samples already and are left out, with their labels: {first_names(again)}")
    return [sample for sample in samples if sample.image in kept]


def image_files(samples: Sequence[Sample]) -> Images:
    """The images, by what all names of a file share."""
    return {sample.image_identity: sample.image for sample in samples}


def seen_images(evaluated: Images, trained: Images) -> list[str]:
    """The images that are among those trained on; where that has another name there, as "this, which is that"."""
    pairs = sorted((evaluated[key], trained[key]) for key in evaluated.keys() & trained.keys())
    return [str(one) if one == other else f"{one}, which is {other}" for one, other in pairs]


def recognise(root: Path, layouts: Sequence[Layout], inner_roots: Sequence[str], splits: Sequence[str]) -> Found | None:
    """Find the first layout that has an image and a label below one of the inner roots ("" for `root` itself), or else its folders."""
    partial = None
    for layout in layouts:
        for inner in inner_roots:
            if found := layout.find(root / inner, splits):
                if found.images and found.labels:
                    return found
                partial = partial or found
    return partial


def contents(folder: Path) -> str:
    """Describe what lies in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    return f"{folder} holds {first_names(names, 6)}" if names else f"{folder} is empty"
