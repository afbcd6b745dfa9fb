"""Episodes of any domains as a Lightning data module."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any, ClassVar, Literal

import numpy as np
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from pin_memory.domains.few_shot.dataset import Episodes
from pin_memory.domains.few_shot.episodes import EpisodeSampler, shown_classes
from pin_memory.domains.few_shot.folds import sides_of_fold
from pin_memory.domains.few_shot.protocols import Queries
from pin_memory.domains.few_shot.settings import EpisodeSettings
from pin_memory.domains.loading.compatibility import require_any
from pin_memory.domains.loading.data_module import DomainDataModule, iterations_made, normalized
from pin_memory.domains.loading.loader import ENDLESS, loader_options
from pin_memory.domains.loading.multi_source import MultiSourceDataModule, Preparation
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.distributed import items_of_rank, rank, world_size
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import BACKGROUND, LabelSpace, bit_palette

Side = Literal["train", "val", "test"]
"""What episodes are drawn for."""

log = logging.getLogger(__name__)


class EpisodeLoader:
    """Training batches of episodes for every iteration from one on, without an end; the processes of a run take turns.

    Args:
        episodes: The data set.
        batch_size: Episodes of one iteration in one process.
        start: The first iteration, counted from 0.
        workers: Loading processes.
    """

    def __init__(self, episodes: Episodes, batch_size: int, start: int, workers: int) -> None:
        self.episodes, self.batch_size, self.start, self.workers = episodes, batch_size, start, workers

    def __len__(self) -> int:
        """Return a number of batches beyond all runs."""
        return ENDLESS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Start the loading processes and return the batches."""
        numbers: Any = count(self.start * self.batch_size * world_size() + rank(), world_size())
        return iter(DataLoader(self.episodes, self.batch_size, sampler=numbers, drop_last=True, **loader_options(self.workers)))


class EpisodeDataModule(MultiSourceDataModule):
    """Episodes whose images are drawn from all sources together: training classes for training and validation, the fold's for the test.

    A training batch is `{"support": {"image" (E, S, 3, H, W), "label" (E, S, H, W)}, "query": {...}, "classes" (E, K), "name"}`, as
    `Episodes` gives them, E being `loading.batch_size`. Validation and test give one episode a batch. A test runs over the seeds one after
    the other. Which classes an image shows is found by reading all labels once; the counts are kept in the user's cache.

    Args:
        sources: The domains that episodes are drawn from: training images for training, validation images for the rest.
        targets: Domains whose images are tested on in place of the sources'.
        loading: Episodes of a batch, workers and seed; by default the published settings.
        stand_in: As of `MultiSourceDataModule`.
        episode_options: The settings of `EpisodeSettings`.

    Raises:
        ConfigurationError: Settings, classes and domains do not fit together.
    """

    unit: ClassVar[str] = "episodes"
    episode = EpisodeSettings  # of `episode_options`

    def __init__(
        self,
        sources: Mapping[str, DomainDataModule] | None = None,
        targets: Mapping[str, DomainDataModule] | None = None,
        loading: Loading | None = None,
        stand_in: Preparation | None = None,
        **episode_options: Any,
    ) -> None:
        super().__init__(sources, targets, stand_in)
        self.validation_names = ["episodes"]  # of all sources together
        self.loading, self.settings = loading or Loading(), self.episode(**episode_options)
        for setting, usual in (("sampling", "uniform"), ("on_bad_sample", "raise")):
            if (value := getattr(self.loading, setting)) != usual:
                raise ConfigurationError(f"loading.{setting}={value} is not for episodes: leave it at {usual}.")
        names = self.label_space.names
        self.train_names, self.test_names = sides_of_fold(self.settings.folds, self.settings.fold, names)
        if not self.settings.val_classes < len(self.train_names):
            raise ConfigurationError(f"data.val_classes={self.settings.val_classes} of {len(self.train_names)} training classes.")
        order = np.random.default_rng(self.loading.seed).permutation(len(self.train_names))
        held_out = {self.train_names[place] for place in order[: self.settings.val_classes]}
        self.val_names = tuple(name for name in self.train_names if not held_out or name in held_out)
        self.train_names = tuple(name for name in self.train_names if name not in held_out)
        names = (BACKGROUND, *(f"class {place + 1}" for place in range(self.settings.way)))
        self.outputs = LabelSpace(names, bit_palette(len(names)))
        self._shown: dict[str, np.ndarray] = {}  # by side
        self._reported: set[str] = set()  # sides whose classes that are left out have been named

    @property
    def test_stages(self) -> list[str]:
        """The names of the test loaders, one for each seed."""
        return [f"seed_{seed}" for seed in self.settings.test_seeds]

    @property
    def test_classes(self) -> list[int]:
        """The train ids of the fold's classes."""
        return self._ids(self.test_names)

    @property
    def val_ids(self) -> list[int]:
        """The train ids of the classes that validation episodes may be of."""
        return self._ids(self.val_names)

    def _ids(self, names: Sequence[str]) -> list[int]:
        return [self.label_space.names.index(name) for name in names]

    @cached_property
    def crop(self) -> tuple[int, int] | None:
        """Height and width of training crops; None where the augmentations do not say."""
        augmentations = (domain.augmentation for domain in self.sources.values())
        return next((own.crop_size for own in augmentations if isinstance(own, TrainTransform)), None)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of whole images in validation and test."""
        asked = self.settings.size or self.crop
        if asked is None:
            raise ConfigurationError("data.size: set it, as the domains' augmentations do not say how large their crops are.")
        return (asked, asked) if isinstance(asked, int) else (asked[0], asked[1])

    def opened(self, side: Side) -> list[Domain]:
        """The splits that the episodes of a side are drawn from, opened; a DataError where one is missing."""
        if side == "test" and self.targets:
            return [domain.dataset("test") for domain in self.targets.values()]
        require_any(self.sources, "source")
        return [domain.dataset(self.settings.tested_split if side == "test" else side) for domain in self.sources.values()]

    def episodes(self, side: Side, seed: int | None = None) -> Episodes:
        """The episodes of a side; of a test, those of one of its seeds.

        Raises:
            DataError: A data set is missing, or a label cannot be read.
            ConfigurationError: There are too few classes, or too few images of a class.
        """
        rules, domains = self.settings.rules, self.opened(side)
        queries = rules.train_queries if side == "train" else self.settings.queries or rules.queries
        if side not in self._shown:  # counted for all seeds, and for a check before a training
            self._shown[side] = shown_classes(domains, self.settings.shown_from, self.loading.workers)
        classes, hidden = self._classes(side, queries), []
        if side != "test" and self.settings.test_fold_pixels == "ignore":
            hidden = self._ids([name for name in self.label_space.names if name in self.hidden_names(side)])
        in_turn = side == "test" and rules.in_turn and int(self._shown[side][:, classes].sum()) <= self.settings.episodes
        sampler = EpisodeSampler(
            self._shown[side], classes, self.settings.way, self.settings.shot, queries,
            self.loading.seed if seed is None else seed, side, in_turn, self.label_space.names,
        )  # fmt: skip
        augmentations = [domain.augmentation for domain in self.sources.values()] if side == "train" else None
        size = self.size if augmentations is None else self.crop or self.size
        return Episodes(domains, sampler, size, rules.support_labels, hidden, augmentations, self.settings.shown_from)

    def hidden_names(self, side: Side) -> tuple[str, ...]:
        """The classes that a side must not learn of: those of the fold, and for training those held out for validation."""
        held_out = self.val_names if self.settings.val_classes and side == "train" else ()
        return () if side == "test" else (*self.test_names, *held_out)

    def _classes(self, side: Side, queries: Queries) -> list[int]:
        """The train ids of a side's classes; those of training and validation that too few images show are left out, with a warning."""
        names = {"train": self.train_names, "val": self.val_names, "test": self.test_names}[side]
        ids = self._ids(names)
        if side == "test":
            return ids
        images = self._shown[side].sum(0)
        needed = self.settings.shot + (self.settings.way if queries == "per_class" else 1)
        rare = [self.label_space.names[own] for own in ids if 0 < images[own] < needed]  # the others do not occur at all
        if rare and side not in self._reported:
            log.warning("%s episodes leave out %s: fewer than %d images show it.", side, ", ".join(rare), needed)
        self._reported.add(side)
        return [own for own in ids if images[own] >= needed]

    def check(self, sources: bool = True, targets: bool = True) -> None:
        """As `MultiSourceDataModule.check`; then labels are read once, to see that the episodes of each side can be drawn."""
        super().check(sources, targets)
        for side, wanted in (("train", sources), ("val", sources), ("test", targets)):
            if wanted:
                self.episodes(side)  # type: ignore[arg-type]  # a loop widens the names of the sides

    def check_shares(self, processes: int, targets: bool = True) -> None:
        """Refuse so many processes that one of them would have no episode to evaluate."""
        fewest = min(self.settings.val_episodes, self.settings.episodes if targets else self.settings.val_episodes)
        if fewest < processes:
            raise ConfigurationError(
                f"{fewest} episodes cannot be shared out to {processes} devices: raise data.episodes, data.val_episodes."
            )

    def train_dataloader(self, extra_pass: int | None = None) -> EpisodeLoader:  # type: ignore[override]  # batches of another kind
        """Batches of training episodes from the iteration on that the Trainer is at, without an end."""
        return EpisodeLoader(self.episodes("train"), self.loading.batch_size, iterations_made(self.trainer), self.loading.workers)

    def source_pass(self, number: int) -> Iterator[dict[str, dict[str, Any]]]:
        """Refuse methods that look at all sources outside of the iterations: an episode has all that it needs in its support."""
        raise ConfigurationError("data=episodes is for few-shot methods: this one makes a pass over the sources. Set data=multi_source.")

    def val_dataloader(self) -> DataLoader[Any]:  # type: ignore[override]  # one loader, whatever the number of sources
        """Validation episodes, always the same ones, one by one."""
        return self._evaluation(self.episodes("val"), self.settings.val_episodes)

    def test_dataloader(self) -> CombinedLoader:
        """Test episodes one by one, seed by seed, by the names `test_stages`."""
        names = zip(self.test_stages, self.settings.test_seeds, strict=True)
        return CombinedLoader(
            {name: self._evaluation(self.episodes("test", seed), self.settings.episodes) for name, seed in names}, "sequential"
        )

    def _evaluation(self, episodes: Episodes, number: int) -> DataLoader[Any]:
        """A loader over this process's share of the first `number` episodes."""
        return DataLoader(episodes, sampler=items_of_rank(range(number)), **loader_options(self.loading.workers))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise images on the device, where they have come as bytes."""
        return {**batch, **{part: normalized(batch[part], self.trainer) for part in ("support", "query")}}
