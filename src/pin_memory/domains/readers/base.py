"""What the readers of all data sets share: pairs, decoding, one table for the labels, and the messages when something is missing."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from pin_memory.domains.readers.decoding import read_indices, read_rgb
from pin_memory.domains.readers.layouts import SPLITS, Found, Layout, recognise
from pin_memory.domains.readers.listing import Sample, contents, first_names, indent
from pin_memory.domains.readers.splits import SplitFile, listed, split_last_fifth
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.images import EvalTransform
from pin_memory.utils.labels import CITYSCAPES, CLASSES, LabelSpace

DEMO = "To see everything run without any data set, on drawn stand-ins:\n    python -m pin_memory.train experiment=demo"

_TRAINING_ENDS = (
    "Training ends at an image or label that cannot be read. `pin-memory check deep=true` lists all such files;"
    " loading.on_bad_sample=skip goes on without them, and counts them."
)

log = logging.getLogger(__name__)


class MissingDataError(DataError):
    """A data set that is not where it was looked for.

    Attributes:
        report: What was expected, what was found and where to get it, without the hint at the demo that ends the message.
    """

    def __init__(self, report: str) -> None:
        """Make the error from its `report`."""
        self.report = report
        super().__init__(f"{report}\n\n{DEMO}")


@dataclass(frozen=True, slots=True)
class Draw:
    """One training draw: the sample's index, the seed of its augmentation and the iteration that it is trained on in."""

    index: int
    seed: int
    iteration: int = 0


class Transform(Protocol):
    """Turns a decoded pair into tensors."""

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 RGB and (H, W) uint8 train ids to (3, h, w) float32 and (h, w) int64."""


@runtime_checkable
class TransformByIteration(Protocol):
    """A transform that depends on the iteration that an image is trained on in."""

    def at(self, iteration: int) -> Transform:
        """The transform in an iteration, counted from 0."""


class Domain(Dataset[dict[str, Any]]):
    """A labelled data set with the 19 Cityscapes classes.

    A data set's reader declares the folder trees it knows in `layouts` and, where its labels are not plain 8-bit index maps, its decoding
    in `read_raw_label`. Raw label ids become train ids through `table`, in one look-up; ids the table does not list become `IGNORE`.
    Nothing below the root is ever written, renamed or moved.

    Attributes:
        found: The files of the split (of all splits, where they share a folder or a list sorts them) and the layout they follow.
        samples: The pairs of the split, sorted by name.
        notes: What was left out by which rule, in sentences.
        table: Train id of each raw label id, (256,) uint8.
    """

    title: ClassVar[str]
    """The name of the data set in messages."""
    tree: str
    """The expected folders and files, for messages."""
    download: ClassVar[str]
    """Where to get the data set, for messages."""
    layouts: tuple[Layout, ...]
    """The folder trees the reader recognises, the preferred one first."""
    inner_roots: ClassVar[tuple[str, ...]] = ("",)
    """Folders below the root that a layout may start in, such as the folder an archive unpacks to; "" for the root itself."""
    table: np.ndarray
    """Train id of each raw label id, (256,) uint8; the reader's default, which a layout or an option replaces."""
    test_split: ClassVar[str] = "val"
    """The split that a target domain is judged on."""
    label_space: LabelSpace = CITYSCAPES
    """What the train ids stand for; all domains of a run share it."""
    classes: tuple[str, ...] = CLASSES
    """The classes of the label space that occur in the data set: a mean is taken over these, whatever is predicted."""
    score_subsets: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Further means that are reported when the data set is a source: their name, and the classes they are taken over."""
    official_counts: Mapping[str, int] = {}
    """Pairs of each split as published, for the check."""
    known_single_colour: Collection[str] = ()
    """Names of samples that are published with a label of one class or an image of one colour: the check mentions these only."""
    unmatched: ClassVar[Literal["raise", "report"]] = "raise"
    """What happens when an image has no label: an error, or (for data sets published so) a note, and the pair is left out."""

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        split_file: SplitFile | None = None,
        unmatched: Literal["raise", "report"] | None = None,
    ) -> None:
        """List the samples of a split; nothing is decoded.

        Args:
            root: The folder of the data set, as it was unpacked.
            split: "train", "val" or "test" (what a target domain is judged on).
            transform: Applied to every pair; without one, pairs are only normalised.
            split_file: Lists that say which images belong to which split, instead of folders or the default rule (see `splits.listed`).
            unmatched: Overrides what happens when an image has no label.

        Raises:
            DataError: The data set is not there, the split is empty or an image has no label.
            ConfigurationError: There is no such split.
        """
        if unmatched not in (None, "raise", "report"):
            raise ConfigurationError(f"{self.title}: unmatched={unmatched!r}; expected raise or report.")
        if split not in SPLITS:
            raise ConfigurationError(f"{self.title}: there is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        self.root = Path(root).expanduser()
        self.split = split
        self.transform: Transform = transform or EvalTransform()
        self.split_file = split_file
        self.notes: list[str] = []
        self.found = self.find()
        if self.found.layout.table is not None:
            self.table = self.found.layout.table
        self._settle_unmatched(unmatched or self.unmatched)
        self.samples = self.select(self.found.pairs(self.sample_name))
        if not self.samples:
            raise self.missing(f"no image for the split {split!r}")

    @property
    def raw_ids(self) -> Collection[int] | None:
        """The values that a label file may hold, for the check; None where that is not known."""
        return None

    @property
    def layout(self) -> Layout:
        """How the data set lies on disk."""
        return self.found.layout

    @property
    def folder_split(self) -> str:
        """The split whose folder or list is read: `split`, but for "test" the one that the data set is judged on."""
        return self.test_split if self.split == "test" else self.split

    def find(self) -> Found:
        """Recognise the layout and list its files.

        Raises:
            MissingDataError: None of the known trees is there.
        """
        splits = SPLITS if self.split_file is not None else (self.folder_split,)
        found = recognise(self.root, self.layouts, self.inner_roots, splits)
        if not found:
            raise self.missing(self._absence())
        if not found[0].images:
            raise self.missing(f"no image for the split {self.split!r} in the tree {found[0].layout.name!r}")
        if not found[0].layout.by_folder and self.split_file is None:
            self._refuse_two_trees(found[0])
        return found[0]

    def _refuse_two_trees(self, found: Found) -> None:
        """Refuse files without split folders beside other splits' folders: a split of the former could overlap with the latter."""
        others = recognise(self.root, tuple(layout for layout in self.layouts if layout.by_folder), self.inner_roots, SPLITS)
        if others and others[0].images and others[0].labels:
            raise self.missing(
                f"the split {self.split!r} would come from the tree {found.layout.name!r}, but other splits lie in the tree"
                f" {others[0].layout.name!r}, whose images may be the same; complete or remove one of the two, or give split_file"
            )

    def _absence(self) -> str:
        """Say what is there instead of the split."""
        if others := recognise(self.root, self.layouts, self.inner_roots, SPLITS):
            folder = others[0].layout.images.format(split=others[0].layout.splits.get(self.folder_split, self.folder_split))
            return f"it follows the tree {others[0].layout.name!r}, but there is no {folder} with its labels; {contents(self.root)}"
        absent = "none of its known folder trees is there; " if self.root.is_dir() and any(self.root.iterdir()) else ""
        return absent + contents(self.root)

    def sample_name(self, key: str) -> str:
        """The name of a sample, unique in the split and usable as a file name, from its key: the path that image and label share."""
        return key.replace("/", "_")

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The samples of the split: faulty ones are left out with a note, then lists, folders or the default rule decide."""
        pairs = self.drop_faults(pairs)
        if self.split_file is not None:
            return listed(pairs, self.split_file, self.folder_split, self.title)
        return pairs if self.layout.by_folder else self.default_split(pairs)

    def drop_faults(self, pairs: list[Sample]) -> list[Sample]:
        """Leave out what is known to be faulty, by a rule; says so with `note`."""
        return pairs

    def default_split(self, pairs: list[Sample]) -> list[Sample]:
        """The split's part of data that have neither folders nor lists for it."""
        return split_last_fifth(pairs, self.folder_split)

    def note(self, sentence: str) -> None:
        """Remember what was left out by which rule, and say it."""
        self.notes.append(sentence)
        log.warning("%s, split %s: %s", self.title, self.split, sentence)

    def _settle_unmatched(self, policy: str) -> None:
        """Refuse or note images without label; note labels without image."""
        images, labels = self.found.lonely_images, self.found.lonely_labels
        if images and (policy == "raise" or len(images) == len(self.found.images)):
            names = first_names(str(self.found.images[key]) for key in images)
            raise DataError(
                f"{self.title}: {len(images)} of {len(self.found.images)} images of the split {self.split!r} below {self.root} have no "
                f"label: {names}.\nGet the missing labels, or remove these images. Expected below {self.root}:\n{indent(self.tree)}"
            )
        if images:
            self.note(f"{len(images)} images have no label and are left out: {first_names(images)}")
        if labels:
            self.note(f"{len(labels)} labels have no image and are left out: {first_names(labels)}")

    def label_sources(self) -> list[Path]:
        """Files besides the labels' own that decide what a label means; the counts of classes depend on them."""
        return []

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Decode a label file to raw ids, (H, W) uint8."""
        return read_indices(path)

    def read_image(self, sample: Sample) -> np.ndarray:
        """Decode a sample's image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The file cannot be read or decoded.
        """
        return read_rgb(sample.image)

    def read_label(self, sample: Sample) -> np.ndarray:
        """Decode a sample's label to train ids, (H, W) uint8, 0..18 or `IGNORE`.

        Raises:
            DataError: The file cannot be read or decoded, or is not in the data set's encoding.
        """
        return np.asarray(cv2.LUT(self.read_raw_label(sample.label), self.table))

    def read_pair(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Decode a sample's image and label.

        Raises:
            DataError: As the two readers, and when image and label differ in size.
        """
        image, label = self.read_image(sample), self.read_label(sample)
        if image.shape[:2] != label.shape:
            raise DataError(
                f"{self.title}: image and label differ in size (width x height).\n"
                f"    {_size(image)}  {sample.image}\n    {_size(label)}  {sample.label}\n"
                "Get both files again, or take this pair out of the data set."
            )
        return image, label

    def __len__(self) -> int:
        """The number of samples of the split."""
        return len(self.samples)

    def __getitem__(self, draw: int | Draw) -> dict[str, Any]:
        """Read and transform one sample.

        Args:
            draw: The sample's index; a `Draw` also sets the seed of a random transform.

        Returns:
            "image": (3, H, W) float32, normalised; "label": (H, W) int64 train ids; "name": the sample's name.

        Raises:
            DataError: The pair cannot be read.
        """
        try:
            return self.read(draw)
        except DataError as error:
            if not isinstance(draw, Draw):
                raise
            raise DataError(f"{error}\n{_TRAINING_ENDS}") from error

    def read(self, draw: int | Draw) -> dict[str, Any]:
        """As `__getitem__`, with nothing but the fault in the error.

        Raises:
            DataError: The pair cannot be read.
            MemoryError: It does not fit into the memory; names it.
        """
        index, seed, iteration = (draw.index, draw.seed, draw.iteration) if isinstance(draw, Draw) else (draw, None, 0)
        sample = self.samples[index]
        transform = self.transform.at(iteration) if isinstance(self.transform, TransformByIteration) else self.transform
        try:
            image, label = transform(*self.read_pair(sample), seed)
        except MemoryError as error:
            raise MemoryError(f"{self.title}: no memory is left for {sample.image} and its label") from error
        return {"image": image, "label": label, "name": sample.name}

    def missing(self, found: str) -> MissingDataError:
        """The error that says what is expected, what was found, and where to get the data set."""
        return MissingDataError(
            f"{self.title} is missing or incomplete: {found}.\n"
            f"  Expected below {self.root}:\n{indent(self.tree)}\n  Where to get it: {self.download}"
        )


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
