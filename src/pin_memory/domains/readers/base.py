"""What the readers of all data sets share: pairs, decoding, one table for the labels, and the messages when something is missing."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from torch.utils.data import Dataset

from pin_memory.domains.readers.draws import Draw, Transform, TransformByIteration
from pin_memory.domains.readers.label_maps import read_indices
from pin_memory.domains.readers.label_spaces import SharedLabelSpace
from pin_memory.domains.readers.layouts import SPLITS, Found, Layout, MissingDataError, Sample, contents, one_sample_each, recognise
from pin_memory.domains.readers.splits import SplitFile, listed, split_last_fifth
from pin_memory.utils.decoding import describe_turns, read_rgb
from pin_memory.utils.errors import ConfigurationError, DataError, first_names, indent
from pin_memory.utils.images import to_tensors
from pin_memory.utils.labels import CITYSCAPES, CLASSES, IGNORE, ClassNames, LabelSpace

log = logging.getLogger(__name__)


class Domain(Dataset[dict[str, Any]]):
    """A labelled data set with the 19 Cityscapes classes.

    A data set's reader declares the folder trees it knows in `layouts` and, where its labels are not plain 8-bit index maps, its decoding
    in `read_raw_label`. Raw label ids become train ids through `table`, in one look-up; ids the table does not list become `IGNORE`.
    Nothing below the root is ever written, renamed or moved.

    Attributes:
        found: The files of the split (of all splits, where they share a folder or a list sorts them) and the layout they follow.
        samples: The pairs of the split, sorted by name.
        notes: What was left out by which rule, in sentences.
    """

    # What a reader declares; in `__init__`, options may change what is no ClassVar.
    title: ClassVar[str]  # name of the data set in messages
    tree: str  # the expected folders and files, for messages
    download: ClassVar[str]  # where to get the data set, for messages
    layouts: tuple[Layout, ...]  # the folder trees that it recognises, the preferred one first
    inner_roots: ClassVar[tuple[str, ...]] = ("",)  # folders below the root that a layout may start in, as of an archive; "": the root
    table: np.ndarray  # train id of each raw label id, (256,) uint8, unless the layout has its own
    test_split: ClassVar[str] = "val"  # the split that a target domain is evaluated on
    trainable: ClassVar[bool] = True  # False: there are no labels to train on, so that it can only be a target domain
    reads_all_splits: bool = False  # take the frames of all split folders, whatever the split
    ignore_missing: ClassVar[Collection[str]] = frozenset()  # names that a list may have without their frames being there
    unique_file_names: ClassVar[bool] = False  # True: folders are no part of a sample's name
    label_space: LabelSpace = CITYSCAPES  # what the train ids stand for; all domains of a run share it
    classes: tuple[str, ...] = CLASSES  # those that occur: a mean is taken over these, whatever is predicted
    score_subsets: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # further means for a source: their name and classes
    official_counts: Mapping[str, int] = {}  # pairs of each split as published, for the check
    known_single_colour: Collection[str] = ()  # samples published with one class or one colour: the check only mentions these
    unmatched: ClassVar[Literal["raise", "report"]] = "raise"  # for an image without label: an error, or a note as published so

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        split_file: SplitFile | None = None,
        unmatched: Literal["raise", "report"] | None = None,
        label_space: SharedLabelSpace | None = None,
    ) -> None:
        """List the samples of a split; nothing is decoded.

        Args:
            root: The folder of the data set, as it was unpacked.
            split: "train", "val" or "test" (what a target domain is evaluated on).
            transform: Applied to every pair; without one, pairs only become tensors.
            split_file: Lists that say which images belong to which split, instead of folders or the default rule (see `splits.listed`).
            unmatched: Overrides what happens when an image has no label.
            label_space: Classes that the train ids stand for, instead of the data set's own.

        Raises:
            DataError: The data set is not there, the split is empty or an image has no label.
            ConfigurationError: There is no such split, or the label space does not say what becomes of a class.
        """
        if unmatched not in (None, "raise", "report"):
            raise ConfigurationError(f"{self.title}: unmatched={unmatched!r}; expected raise or report.")
        if split not in SPLITS:
            raise ConfigurationError(f"{self.title}: there is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        if split == "train" and not self.trainable:
            reason = f"only its {self.test_split} frames have labels, so there is nothing to train on"
            raise ConfigurationError(f"{self.title}: {reason}. Use it as a target domain (data.targets).")
        self.root, self.split = Path(root).expanduser(), split
        self.transform: Transform = transform or to_tensors
        self.split_file = split_file
        self.notes: list[str] = []
        self.found = self.find().without_repeats()
        self.table = self.table if self.layout.table is None else self.layout.table
        if label_space is not None:
            self._share(label_space)
        self._handle_unpaired(unmatched or self.unmatched)
        pairs = self.found.pairs(self.unique_file_names)
        if split_file is None:
            self.samples = self.select(one_sample_each(pairs, self.root, self.note))
        else:  # a list may use any name of a file
            self.samples = one_sample_each(self.select(pairs), self.root, self.note)
        if not self.samples:
            raise self.missing(f"no image for the split {split!r}")

    @property
    def layout(self) -> Layout:
        """How the data set lies on disk."""
        return self.found.layout

    @property
    def raw_ids(self) -> Collection[int] | None:
        """The values that a label file may hold, for the check; None where that is not known."""
        return self.layout.raw_ids

    @property
    def class_names(self) -> ClassNames:
        """What the raw ids of the labels are called, for maps to other label spaces."""
        own = self.label_space.names
        known = {raw: own[train_id] for raw, train_id in enumerate(self.table.tolist()) if train_id != IGNORE}
        name = "cityscapes" if own == CITYSCAPES.names else type(self).__name__.lower()
        return self.layout.class_names or ClassNames(name, known)

    @property
    def folder_split(self) -> str:
        """The split whose folder or list is read: `split`, but for "test" the one that the data set is evaluated on."""
        return self.test_split if self.split == "test" else self.split

    @property
    def searched_splits(self) -> tuple[str, ...]:
        """The splits whose folders are searched: a list, or training on everything, takes frames from all of them."""
        return SPLITS if self.reads_all_splits or self.split_file is not None else (self.folder_split,)

    def _share(self, shared: SharedLabelSpace) -> None:
        """Take the classes of a label space; where they are the data set's own and no map says otherwise, its train ids stay."""
        names = self.class_names
        if names.data_set in shared.maps or shared.space.names != self.label_space.names:
            self.table = shared.table(names, self.title)
            self.classes = tuple(name for train_id, name in enumerate(shared.space.names) if train_id in self.table)
        self.label_space = shared.space

    def find(self) -> Found:
        """Recognise the layout and list its files."""
        found = recognise(self.root, self.layouts, self.inner_roots, self.searched_splits)
        if not found:
            raise self.missing(self.describe_absence())
        if not found.images:
            raise self.missing(f"no image for the split {self.split!r} in the tree {found.layout.name!r}")
        if not found.layout.by_folder and self.searched_splits != SPLITS:
            # Files without split folders next to other splits' folders: the former's split could overlap with the latter.
            by_folder = [layout for layout in self.layouts if layout.by_folder]
            other = recognise(self.root, by_folder, self.inner_roots, SPLITS)
            if other and other.images and other.labels:
                raise self.missing(
                    f"the split {self.split!r} would come from the tree {found.layout.name!r}, but other splits lie in the tree"
                    f" {other.layout.name!r}, whose images may be the same; complete or remove one of the two, or give split_file"
                )
        return found

    def describe_absence(self) -> str:
        """Say in a message what is there instead of a tree with the split."""
        if other := recognise(self.root, self.layouts, self.inner_roots, SPLITS):
            layout = other.layout
            folder = layout.images.replace("{split}", layout.splits.get(self.folder_split, self.folder_split))
            return f"it follows the tree {layout.name!r}, but there is no {folder} with its labels; {contents(self.root)}"
        absent = "none of its known folder trees is there; " if self.root.is_dir() and any(self.root.iterdir()) else ""
        return absent + contents(self.root)

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The samples of the split: lists, folders or the reader's rule decide; invalid ones are left out with a note."""
        if self.split_file is not None and not self.reads_all_splits:
            return self.drop_invalid(listed(pairs, self.split_file, self.folder_split, self.title, self.ignore_missing))
        pairs = self.drop_invalid(pairs)
        return pairs if self.layout.by_folder or self.reads_all_splits else self.split_rule(pairs, self.split)

    @staticmethod
    def split_rule(samples: list[Sample], split: str) -> list[Sample]:
        """The samples of a split where neither folders nor lists say."""
        return split_last_fifth(samples, split)

    def drop_invalid(self, pairs: list[Sample]) -> list[Sample]:
        """Leave out what is known to be invalid, by a rule, with a `note`."""
        return pairs

    def note(self, sentence: str) -> None:
        """Keep and log what was left out by which rule."""
        self.notes.append(sentence)
        log.warning("%s, split %s: %s", self.title, self.split, sentence)

    def _handle_unpaired(self, policy: str) -> None:
        """Refuse or note images without label; note labels without image."""
        images, labels = self.found.unpaired_images, self.found.unpaired_labels
        if images and (policy == "raise" or len(images) == len(self.found.images)):
            raise DataError(
                f"{self.title}: {len(images)} of {len(self.found.images)} images of the split {self.split!r} below {self.root} have no "
                f"label: {first_names(str(self.found.images[key]) for key in images)}.{self.found.nearly_paired(images[0])}\n"
                f"Get the missing labels, or remove these images. Expected below {self.root}:\n{indent(self.tree)}"
            )
        if images:
            self.note(f"{len(images)} images have no label and are left out: {first_names(images)}")
        if labels:
            self.note(f"{len(labels)} labels have no image and are left out: {first_names(labels)}")

    @property
    def reads_raw_labels(self) -> bool:
        """Whether labels are files of raw ids that `table` maps; the check counts these."""
        return type(self).read_label is Domain.read_label

    def label_sources(self) -> list[Path]:
        """Files besides the labels' own that decide what a label means; the counts of classes depend on them."""
        return []

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Decode a label file to raw ids, (H, W) uint8."""
        return read_indices(path)

    def read_image(self, sample: Sample) -> np.ndarray:
        """Decode a sample's image, (H, W, 3) uint8 RGB."""
        return read_rgb(sample.image)

    def read_label(self, sample: Sample) -> np.ndarray:
        """Decode a sample's label to train ids, (H, W) uint8, 0..18 or `IGNORE`."""
        return np.asarray(cv2.LUT(self.read_raw_label(sample.label), self.table))

    def read_pair(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Decode a sample's image and label, which have to be of one size."""
        image, label = self.read_image(sample), self.read_label(sample)
        if image.shape[:2] != label.shape:
            raise DataError(
                f"{self.title}: image and label differ in size (width x height).\n    {image.shape[1]}x{image.shape[0]}  {sample.image}\n"
                f"    {label.shape[1]}x{label.shape[0]}  {sample.label}\n"
                f"Get both files again, or take this pair out of the data set.{describe_turns(sample.image, sample.label)}"
            )
        return image, label

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: int | Draw) -> dict[str, Any]:
        """Read and transform one sample.

        Args:
            draw: The sample's index; a `Draw` also sets the seed of a random transform.

        Returns:
            "image": (3, H, W) uint8 RGB; "label": (H, W) int64 train ids; "name": the sample's name.

        Raises:
            DataError: The pair cannot be read.
        """
        try:
            return self.read(draw)
        except DataError as error:
            if not isinstance(draw, Draw):
                raise
            raise DataError(
                f"{error}\nTraining ends at an image or label that cannot be read. `pin-memory check deep=true` lists all such files;"
                " loading.on_bad_sample=skip continues without them, and counts them."
            ) from error

    def read(self, draw: int | Draw) -> dict[str, Any]:
        """Read and transform one sample as `__getitem__` does, with nothing but the fault in the error."""
        index, iteration = (draw.index, draw.iteration) if isinstance(draw, Draw) else (draw, 0)
        sample = self.samples[index]
        transform = self.transform.at(iteration) if isinstance(self.transform, TransformByIteration) else self.transform
        try:
            pair = self.read_pair(sample)
            image, label = draw.crop(lambda seed: transform(*pair, seed)) if isinstance(draw, Draw) else transform(*pair, None)
        except MemoryError as error:
            raise MemoryError(f"{self.title}: no memory is left for {sample.image} and its label") from error
        return {"image": image, "label": label, "name": sample.name}

    def missing(self, found: str) -> MissingDataError:
        """Make the error that says what is expected, what was found, and where to get the data set."""
        return MissingDataError(
            f"{self.title} is missing or incomplete: {found}.\n"
            f"  Expected below {self.root}:\n{indent(self.tree)}\n  Where to get it: {self.download}"
        )
