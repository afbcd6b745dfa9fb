"""What the readers of all data sets share: pairs, decoding, one table for the labels, and the messages when something is missing."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from pin_memory.domains.decoding import read_indices, read_rgb
from pin_memory.domains.listing import Sample, contents, first_names, indent
from pin_memory.domains.transforms import EvalTransform
from pin_memory.errors import ConfigurationError, DataError

SPLITS = ("train", "val", "test")
"""What a reader can be asked for; "test" is the split that a target domain is judged on."""

DEMO = "To see everything run without any data set, on drawn stand-ins:\n    python -m pin_memory.train experiment=demo"

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
    """One training draw: the sample's index and the seed of its augmentation."""

    index: int
    seed: int


class Transform(Protocol):
    """Turns a decoded pair into tensors."""

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 RGB and (H, W) uint8 train ids to (3, h, w) float32 and (h, w) int64."""


class Domain(Dataset[dict[str, Any]]):
    """A labelled data set with the 19 Cityscapes classes.

    A data set's reader names its folders in `find_samples` and, where its labels are not plain 8-bit index maps, its decoding in
    `read_raw_label`. Raw label ids become train ids through `table`, in one look-up; ids the table does not list become `IGNORE`.
    """

    title: ClassVar[str]
    """The name of the data set in messages."""
    tree: ClassVar[str]
    """The expected folders and files, for messages."""
    download: ClassVar[str]
    """Where to get the data set, for messages."""
    table: ClassVar[np.ndarray]
    """Train id of each raw label id, (256,) uint8."""

    def __init__(self, root: str | Path, split: str, transform: Transform | None = None) -> None:
        """List the samples of a split; nothing is decoded.

        Args:
            root: The folder of the data set.
            split: "train", "val" or "test".
            transform: Applied to every pair; without one, pairs are only normalised.

        Raises:
            DataError: The data set is not there, the split is empty or an image has no label.
            ConfigurationError: There is no such split.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"{self.title}: there is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        self.root = Path(root)
        self.split = split
        self.transform: Transform = transform or EvalTransform()
        self.samples = self.find_samples()
        if not self.samples:
            raise self.missing(f"no image for the split {split!r}")

    def find_samples(self) -> list[Sample]:
        """List the pairs of `self.split`, sorted by name.

        Raises:
            DataError: The folders are missing, or an image has no label.
        """
        raise NotImplementedError

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
        index, seed = (draw.index, draw.seed) if isinstance(draw, Draw) else (draw, None)
        sample = self.samples[index]
        image, label = self.transform(*self.read_pair(sample), seed)
        return {"image": image, "label": label, "name": sample.name}

    def folder(self, *candidates: str) -> Path:
        """The first of `candidates` (relative to the root) that exists.

        Raises:
            MissingDataError: None does.
        """
        for candidate in candidates:
            if (self.root / candidate).is_dir():
                return self.root / candidate
        absent = f"there is no {' or '.join(candidates)} in it; " if self.root.is_dir() and any(self.root.iterdir()) else ""
        raise self.missing(absent + contents(self.root))

    def pair(self, images: dict[str, Path], labels: dict[str, Path]) -> list[Sample]:
        """Join images and labels of the same key into samples, sorted by key.

        Raises:
            DataError: An image has no label.
        """
        lonely = sorted(images.keys() - labels.keys())
        if lonely:
            raise DataError(
                f"{self.title}: {len(lonely)} of {len(images)} images of the split {self.split!r} below {self.root} have no label: "
                f"{first_names(str(images[key]) for key in lonely)}.\nGet the missing labels, or remove these images. "
                f"Expected below {self.root}:\n{indent(self.tree)}"
            )
        if surplus := sorted(labels.keys() - images.keys()):
            log.warning("%s: %d labels have no image and are left out: %s", self.title, len(surplus), first_names(surplus))
        return [Sample(key.replace("/", "_"), images[key], labels[key]) for key in sorted(images)]

    def missing(self, found: str) -> MissingDataError:
        """The error that says what is expected, what was found, and where to get the data set."""
        return MissingDataError(
            f"{self.title} is missing or incomplete: {found}.\n"
            f"  Expected below {self.root}:\n{indent(self.tree)}\n  Where to get it: {self.download}"
        )


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
