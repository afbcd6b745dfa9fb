"""One data set as a Lightning data module."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from pin_memory.domains.base import SPLITS, Domain, Transform
from pin_memory.domains.classes import LabelSpace
from pin_memory.domains.listing import evenly_spaced
from pin_memory.domains.sampling import DrawLoader, DrawSampler, RareClassSampler
from pin_memory.domains.statistics import class_counts
from pin_memory.domains.transforms import TrainTransform
from pin_memory.domains.views import ViewTransform, find_view
from pin_memory.errors import ConfigurationError

SAMPLINGS = ("uniform", "rare_class")
"""Rules that choose the training images."""


@dataclass(frozen=True)
class Loading:
    """How much is loaded, and how.

    Attributes:
        batch_size: Training images per batch, of each domain and on each device.
        num_workers: Loading processes of each domain; never more than there are CPUs.
        draws_per_epoch: Training draws in one epoch, of each domain.
        max_val_images: Validate on at most so many images, evenly spaced; None for all.
        max_test_images: Test on at most so many images, evenly spaced; None for all.
        seed: Decides order and augmentation.
        sampling: Which training images are drawn: "uniform" or "rare_class" (see `RareClassSampler`).
        rare_class_temperature: Of "rare_class"; the lower, the more the rarest classes are preferred.
        rare_class_min_share: Of "rare_class"; least share of an image's pixels with which it shows a class.
    """

    batch_size: int = 4
    num_workers: int = 4
    draws_per_epoch: int = 2975
    max_val_images: int | None = 500
    max_test_images: int | None = None
    seed: int = 304
    sampling: str = "uniform"
    rare_class_temperature: float = 0.01
    rare_class_min_share: float = 0.0015

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigurationError: A value is out of its range.
        """
        least = {"batch_size": 1, "num_workers": 0, "draws_per_epoch": 1, "max_val_images": 1, "max_test_images": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigurationError(f"loading.{name} must be at least {low}, found {value}.")
        if self.sampling not in SAMPLINGS:
            raise ConfigurationError(f"loading.sampling={self.sampling}: expected {' or '.join(SAMPLINGS)}.")
        if not (self.rare_class_temperature > 0 and 0 <= self.rare_class_min_share <= 1):
            raise ConfigurationError("loading.rare_class_temperature must be above 0 and loading.rare_class_min_share within 0..1.")

    @property
    def workers(self) -> int:
        """`num_workers`, at most one for each CPU this process may use."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.num_workers, cpus)


class DomainDataModule(LightningDataModule):
    """The loaders of one data set; a subclass names its reader.

    Works alone, too: `GTAVDataModule(root="data/gtav").train_dataloader()`.
    """

    reader: ClassVar[type[Domain]]

    def __init__(
        self,
        root: str | Path,
        augmentation: Transform | None = None,
        loading: Loading | None = None,
        view: str = "native",
        **reader_options: Any,
    ) -> None:
        """Keep the settings; nothing is read before it is asked for.

        Args:
            root: The folder of the data set.
            augmentation: For the training images; by default the published one.
            loading: Batch size, workers and limits; by default the published ones.
            view: Evaluation view of the validation and test images (`views.VIEWS`).
            reader_options: Passed to the reader, e.g. `drives` of CamVid.

        Raises:
            ConfigurationError: There is no such view.
        """
        super().__init__()
        self.root = Path(root)
        self.augmentation: Transform = augmentation or TrainTransform()
        self.loading = loading or Loading()
        self.view = find_view(view)
        self.reader_options = reader_options

    @property
    def title(self) -> str:
        """The name of the data set."""
        return self.reader.title

    @property
    def stand_in(self) -> bool:
        """Whether the data set is a drawn stand-in."""
        return any((folder / "stand_in.json").is_file() for folder in (self.root, self.root.parent))

    @property
    def label_space(self) -> LabelSpace:
        """What the train ids of the labels stand for."""
        return self.reader.label_space

    def dataset(self, split: str, transform: Transform | None = None) -> Domain:
        """Open a split: "train", "val" or "test" (what a target domain is judged on).

        Args:
            split: The split.
            transform: Applied to every pair; by default pairs are only normalised.

        Raises:
            DataError: The data set is missing, empty or has images without label.
        """
        return self.reader(self.root, split, transform, **self.reader_options)

    def check(self, splits: Sequence[str] = SPLITS) -> set[Path]:
        """List the files of the splits, decoding nothing.

        Returns:
            The image files.

        Raises:
            DataError: The data set is missing, empty or has images without label.
        """
        root = self.root.resolve()  # two ways to one folder are one; the files' own links are not followed, which takes long
        return {root / sample.image.relative_to(self.root) for split in splits for sample in self.dataset(split).samples}

    def train_dataloader(self, stream: str = "", augmentation: Transform | None = None) -> DrawLoader:
        """Random augmented batches of "image" (B, 3, H, W), "label" (B, H, W) and "name".

        Args:
            stream: The name of the domain in a run of several; domains of different names get independent draws.
            augmentation: In place of the domain's own.

        Raises:
            DataError: As `dataset`.
            ConfigurationError: An epoch does not fill one batch.
        """
        dataset = self.dataset("train", augmentation or self.augmentation)
        sampler = self._sampler(dataset, stream)
        options = _loader_options(self.loading.workers) | {"persistent_workers": self.loading.workers > 0}
        return DrawLoader(dataset, sampler=sampler, batch_size=self.loading.batch_size, **options)

    def _sampler(self, dataset: Domain, stream: str) -> DrawSampler:
        """The draws of the training images; rare classes have to be counted once for that."""
        loading = self.loading
        if loading.sampling == "uniform":
            return DrawSampler(len(dataset), loading.draws_per_epoch, loading.seed, stream)
        counts = class_counts(dataset, loading.workers)
        shape = {"temperature": loading.rare_class_temperature, "min_share": loading.rare_class_min_share}
        return RareClassSampler(counts, loading.draws_per_epoch, loading.seed, stream, **shape)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation images one by one, in the evaluation view."""
        return self._evaluation("val", self.loading.max_val_images)

    def test_dataloader(self) -> DataLoader[Any]:
        """Test images one by one, in the evaluation view."""
        return self._evaluation("test", self.loading.max_test_images)

    def _evaluation(self, split: str, limit: int | None) -> DataLoader[Any]:
        """A loader over at most `limit` images, in order."""
        dataset = self.dataset(split, ViewTransform(self.view.name))
        dataset.samples = evenly_spaced(dataset.samples, limit)
        return DataLoader(dataset, batch_size=1, **_loader_options(self.loading.workers))


def _loader_options(workers: int) -> dict[str, Any]:
    """Options shared by all loaders."""
    return {"num_workers": workers, "pin_memory": torch.cuda.is_available(), "worker_init_fn": _start_worker}


def _start_worker(_: int) -> None:
    """One thread per loading process: several of OpenCV's own would only compete."""
    cv2.setNumThreads(0)
