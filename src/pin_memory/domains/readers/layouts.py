"""How a data set lies on disk: the folder trees that a reader recognises, and what was found of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pin_memory.domains.readers.listing import Sample, find_files
from pin_memory.utils.errors import DataError

SPLITS = ("train", "val", "test")
"""What a reader can be asked for; "test" is the split that a target domain is judged on."""

TRAIN_AND_VAL: Mapping[str, str] = {"train": "train", "val": "val"}
"""Split folders of data sets whose test labels are not published."""


@dataclass(frozen=True)
class Layout:
    """One way a data set lies on disk. Nothing needs to be renamed, moved or converted for a reader that knows it.

    Attributes:
        name: What it is called in reports.
        images: Folder of the images below the root; "{split}" stands for the folder of the split. Without it the data set has one
            folder for all splits.
        labels: Folder of the labels, likewise.
        image: Pattern of an image's whole file name; its first group is the key that image and label share.
        label: Pattern of a label's file name, likewise.
        splits: Name of the folder for each split; a split that is not listed does not exist in this layout.
        encoding: How the labels are encoded, for the reader's `read_raw_label` and for reports.
        table: Train id of each raw label id, (256,) uint8; None for the reader's own table.
        scale: Size of images and labels over that of the original data set (0.5 for half-size copies).
    """

    name: str
    images: str
    labels: str
    image: str
    label: str
    splits: Mapping[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})
    encoding: str = "ids"
    table: np.ndarray | None = field(default=None, compare=False, repr=False)
    scale: float = 1.0

    @property
    def by_folder(self) -> bool:
        """Whether the splits are folders."""
        return "{split}" in self.images

    def find(self, root: Path, splits: tuple[str, ...]) -> "Found | None":
        """Look for files of this layout.

        Args:
            root: The folder of the data set.
            splits: Look into the folders of these splits; a layout without such folders is looked at whole.

        Returns:
            Its files; None when one of its folders is missing.
        """
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        there = False
        for inner in dict.fromkeys(self.splits[split] for split in splits if split in self.splits) if self.by_folder else [""]:
            image_folder, label_folder = (root / part.format(split=inner) for part in (self.images, self.labels))
            if not (image_folder.is_dir() and label_folder.is_dir()):
                continue
            there = True
            _add(images, find_files(image_folder, self.image))
            _add(labels, find_files(label_folder, self.label))
        return Found(self, root, images, labels) if there else None


def _add(files: dict[str, Path], more: dict[str, Path]) -> None:
    """Add the files of another split.

    Raises:
        DataError: Two splits hold a file of the same name, so that a list could mean either.
    """
    if twice := sorted(files.keys() & more.keys()):
        raise DataError(f"Two splits hold a file of the name {twice[0]!r}, but are read together: {files[twice[0]]} and {more[twice[0]]}.")
    files |= more


@dataclass(frozen=True)
class Found:
    """The files of a data set.

    Attributes:
        layout: How they lie on disk.
        root: The folder that the layout starts from.
        images: Images by key.
        labels: Labels by key.
    """

    layout: Layout
    root: Path
    images: dict[str, Path]
    labels: dict[str, Path]

    @property
    def lonely_images(self) -> list[str]:
        """Keys of images without a label, sorted."""
        return sorted(self.images.keys() - self.labels.keys())

    @property
    def lonely_labels(self) -> list[str]:
        """Keys of labels without an image, sorted."""
        return sorted(self.labels.keys() - self.images.keys())

    def pairs(self, name: Callable[[str], str]) -> list[Sample]:
        """The samples, named by what `name` makes of their keys and sorted by that."""
        both = self.images.keys() & self.labels.keys()
        return sorted((Sample(name(key), self.images[key], self.labels[key]) for key in both), key=lambda sample: sample.name)


def recognise(root: Path, layouts: tuple[Layout, ...], inner_roots: tuple[str, ...], splits: tuple[str, ...]) -> list[Found]:
    """Find the layouts that the files below `root` follow.

    Args:
        root: The folder of the data set.
        layouts: The known ones, the preferred one first.
        inner_roots: Folders below `root` that the data set may start in, "" for `root` itself.
        splits: As in `Layout.find`.

    Returns:
        The first with at least one image and one label; otherwise those whose folders are there.
    """
    partial = []
    for layout in layouts:
        for inner in inner_roots:
            if hit := layout.find(root / inner, splits):
                if hit.images and hit.labels:
                    return [hit]
                partial.append(hit)
    return partial
