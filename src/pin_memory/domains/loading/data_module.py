"""One data set as a Lightning data module."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar

from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from pin_memory.domains.loading.bad_samples import BadSamples
from pin_memory.domains.loading.class_statistics import class_counts
from pin_memory.domains.loading.corruptions import Corruption
from pin_memory.domains.loading.loader import DrawLoader, collate, loader_options
from pin_memory.domains.loading.samplers import DrawSampler, RareClassSampler
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.loading.views import ViewTransform, find_view
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import SPLITS, Images, Sample, image_files, seen_images
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils.distributed import items_of_rank, world_size
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.images import normalize, to_tensors
from pin_memory.utils.labels import LabelSpace

log = logging.getLogger(__name__)


class DomainDataModule(LightningDataModule):
    """The loaders of one data set; a subclass names its reader.

    Works alone, too: `GTAVDataModule(root="data/gtav").train_dataloader()`, whose batches have no end.

    Args:
        root: The folder of the data set.
        augmentation: For the training images; by default the published one.
        loading: Batch size, workers and limits; by default the published ones.
        view: Evaluation view of the validation and test images (`views.VIEWS`).
        corruption: Of the validation and test images, before the view, such as `{kind: fog, severity: 3}`; None for none.
        reader_options: Passed to the reader, e.g. `drives` of CamVid.

    Attributes:
        bad_samples: The training samples that could not be read so far, with `loading.on_bad_sample=skip`.

    Raises:
        ConfigurationError: There is no such view, or the reader has no such option.
    """

    reader: ClassVar[type[Domain]]

    def __init__(
        self,
        root: str | Path,
        augmentation: Transform | None = None,
        loading: Loading | None = None,
        view: str = "native",
        corruption: Corruption | Mapping[str, Any] | None = None,
        **reader_options: Any,
    ) -> None:
        super().__init__()
        known = self.option_names()
        if unknown := [name for name in reader_options if name not in known]:
            raise ConfigurationError(f"{self.title} has no option {', '.join(unknown)}; its options are {', '.join(known)}.")
        self.root = Path(root).expanduser()
        self.augmentation: Transform = augmentation or TrainTransform()
        self.loading = loading or Loading()
        self.view = find_view(view)
        self.corruption = Corruption.from_setting(corruption)
        self.reader_options = reader_options
        self.bad_samples = BadSamples(self.loading.max_bad_share)
        self._opened: dict[str, Domain] = {}  # by split and options

    @classmethod
    def option_names(cls) -> list[str]:
        """The names of the reader's options."""
        own = [name for name in inspect.signature(cls.reader).parameters if name not in ("root", "split", "transform", "options")]
        return list(dict.fromkeys([*own, "split_file", "unmatched", "label_space"]))

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
        shared = self.reader_options.get("label_space")
        return self.reader.label_space if shared is None else shared.space

    @property
    def score_subsets(self) -> dict[str, tuple[str, ...]]:
        """Further means to report: those of the data set and of a shared label space, by name, with the classes they are taken over."""
        shared = self.reader_options.get("label_space")
        return dict(self.reader.score_subsets) | {name: tuple(names) for name, names in (shared.subsets if shared else {}).items()}

    def evaluate_whole(self) -> None:
        """Evaluate this target on all of its images, unless its settings name a split; published data sets keep their published one."""

    def dataset(self, split: str, transform: Transform | None = None) -> Domain:
        """Open a split: "train", "val" or "test" (what a target domain is evaluated on); its files are listed once for this data module.

        Args:
            split: The split.
            transform: Applied to every pair; by default pairs only become tensors.

        Raises:
            DataError: The data set is missing, empty or has images without label.
        """
        key = f"{split} {self.reader_options!r}"
        if key not in self._opened:
            self._opened[key] = self.reader(self.root, split, **self.reader_options)
        dataset = copy(self._opened[key])
        dataset.transform = transform or to_tensors
        return dataset

    def check(self, splits: Sequence[str] = SPLITS) -> Images:
        """List the files of the splits, decoding nothing.

        Returns:
            The image files, by what all names of a file share.

        Raises:
            DataError: The data set is missing, empty, has images without label, or links make files of one split those of another.
        """
        domains = {split: self.dataset(split) for split in splits}
        if shared := shared_with_training(domains):
            problem = f"{self.title}: {len(shared)} images of the split 'val' are also in 'train', such as {shared[0]}"
            if self.reader_options.get("split_file") is None:
                raise DataError(f"{problem}. An image belongs to one split: take the links out of one of the folders.")
            log.warning("%s: validation sees what is trained on.", problem)  # as the lists say
        return image_files([sample for domain in domains.values() for sample in domain.samples])

    def train_dataloader(
        self, stream: str = "", augmentation: Transform | None = None, workers: int | None = None, extra_pass: int | None = None
    ) -> DrawLoader:
        """Random augmented batches of "image" (B, 3, H, W) uint8, "label" (B, H, W) and "name", without an end.

        Args:
            stream: The name of the domain in a run of several; domains of different names get independent draws.
            augmentation: In place of the domain's own.
            workers: Loading processes; None for those of `loading`.
            extra_pass: Number of a pass outside of the iterations, which has draws of its own from iteration 0 on. None: the draws of
                training, from the iteration on that the Trainer is at.

        Raises:
            DataError: As `dataset`.
        """
        dataset = self.dataset("train", augmentation or self.augmentation)
        if extra_pass is None:
            sampler = self._sampler(dataset, stream, iterations_made(self.trainer))
        else:
            sampler = self._sampler(dataset, f"{stream}, pass {extra_pass}", 0)
        bad = self.bad_samples if self.loading.on_bad_sample == "skip" else None
        workers = self.loading.workers if workers is None else workers
        return DrawLoader(dataset, sampler, stream or self.title, workers, bad, trains=extra_pass is None)

    def _sampler(self, dataset: Domain, stream: str, start: int) -> DrawSampler:
        """Return the draws of the training images; rare classes have to be counted once for that."""
        loading = self.loading
        if loading.sampling == "uniform":
            return DrawSampler(len(dataset), loading.batch_size, loading.seed, stream, start)

        def skip(name: str, fault: str) -> None:
            self.bad_samples.add(name, fault, stream or self.title, len(dataset))

        counts = class_counts(dataset, loading.workers, skip if loading.on_bad_sample == "skip" else None)
        return RareClassSampler(
            counts,
            loading.batch_size,
            loading.seed,
            stream,
            start,
            temperature=loading.rare_class_temperature,
            min_share=loading.rare_class_min_share,
            crop_pixels=loading.rare_class_crop_pixels,
            crop_tries=loading.rare_class_crop_tries,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation images one by one, in the evaluation view."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Test images one by one, in the evaluation view."""
        return self._evaluation("test")

    def evaluated(self, split: str, processes: int) -> list[Sample]:
        """The samples of a split that are evaluated, evenly spaced, by all processes together.

        Args:
            split: "val" or "test".
            processes: How many share them out; no image is repeated to make the shares equal.

        Raises:
            ConfigurationError: A process would have none.
        """
        limit = self.loading.max_val_images if split == "val" else self.loading.max_test_images
        samples = evenly_spaced(self.dataset(split).samples, limit)
        if len(samples) < processes:
            raise ConfigurationError(
                f"{self.title}: {len(samples)} {split} images cannot be shared out to {processes} devices; raise"
                f" loading.max_{split}_images or use fewer devices."
            )
        return samples

    def _evaluation(self, split: str) -> DataLoader[Any]:
        """Return a loader over this process's part of the images, in order."""
        dataset = self.dataset(split, ViewTransform(self.view.name, self.corruption))
        dataset.samples = list(items_of_rank(self.evaluated(split, world_size())))
        options = loader_options(self.loading.workers)
        return DataLoader(dataset, batch_size=self.loading.evaluation_batch_size, collate_fn=collate, **options)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise images on the device, where they have come as bytes."""
        return normalized(batch, self.trainer)


def shared_with_training(splits: Mapping[str, Domain | None]) -> list[str]:
    """The images of "val" that are in "train" as well, by lists or links; none where training takes all splits on purpose."""
    train, val = splits.get("train"), splits.get("val")
    if train is None or val is None or train.reads_all_splits:
        return []
    return seen_images(image_files(val.samples), image_files(train.samples))


def normalized(batch: Mapping[str, Any], trainer: Trainer | None) -> dict[str, Any]:
    """Normalise the images of a batch, or of each domain's, in the floating point type that the Trainer computes in."""
    if "image" not in batch:
        return {name: normalized(part, trainer) for name, part in batch.items()}
    images = normalize(batch["image"])
    return {**batch, "image": images if trainer is None else trainer.precision_plugin.convert_input(images)}


def iterations_made(trainer: Trainer | None) -> int:
    """Return the iterations that a Trainer has made while it trains; otherwise 0."""
    return trainer.global_step if trainer is not None and trainer.training else 0
