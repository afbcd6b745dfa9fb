"""Training draws that depend on nothing but seed, domain and position, and a loader that goes on where a checkpoint left it."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch.distributed
from torch.utils.data import DataLoader, DistributedSampler

from pin_memory.domains.loading.class_statistics import images_with, rare_class_probabilities
from pin_memory.domains.readers.draws import Draw
from pin_memory.utils.errors import ConfigurationError

_BLOCK = 1024  # draws that one generator makes, so that any position is reached without those before it


class DrawSampler(DistributedSampler[Any]):
    """The draws of one epoch: a stretch of an endless sequence of random permutations of the data set.

    Epoch `e` takes the draws `e * length .. (e + 1) * length` of that sequence, so all images are seen equally often over the epochs,
    whatever the size of the data set. Several processes share each stretch. (It is a `DistributedSampler` so that Lightning, seeing
    that the sharing is done, leaves it in place.)
    """

    def __init__(self, size: int, draws_per_epoch: int, seed: int = 0, stream: str = "") -> None:
        """Set up the sequence.

        Args:
            size: Number of samples of the data set.
            draws_per_epoch: Draws in one epoch, over all processes.
            seed: Seed of the run.
            stream: Name of the domain: domains with the same seed get independent draws.
        """
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        processes = torch.distributed.get_world_size() if distributed else 1
        super().__init__(range(size), processes, torch.distributed.get_rank() if distributed else 0, seed=seed)  # type: ignore[arg-type]
        self.size = size
        self.draws_per_epoch = draws_per_epoch
        self.stream = zlib.crc32(stream.encode())
        self.skip = 0
        self.batch_size = 1  # known to the loader, which sets it: an iteration takes so many draws

    def __len__(self) -> int:
        """Draws of one epoch in this process."""
        return self.draws_per_epoch // self.num_replicas

    def __iter__(self) -> Iterator[Draw]:
        """This process's draws of the current epoch, without the first `skip`."""
        start = self.epoch * self.draws_per_epoch + self.skip * self.num_replicas
        count = (len(self) - self.skip) * self.num_replicas
        earlier, skip = self.epoch * (len(self) // self.batch_size), self.skip
        for number, draw in enumerate(islice(self._sequence(start), self.rank, count, self.num_replicas)):
            yield replace(draw, iteration=earlier + (skip + number) // self.batch_size)

    def _sequence(self, start: int) -> Iterator[Draw]:
        """The endless sequence from position `start` on."""
        number, offset = divmod(start, self.size)
        while True:
            generator = np.random.default_rng([self.seed, self.stream, number])
            order, seeds = generator.permutation(self.size), generator.integers(2**63, size=self.size)
            for index, seed in zip(order[offset:].tolist(), seeds[offset:].tolist(), strict=True):
                yield Draw(index, seed)
            number, offset = number + 1, 0


class RareClassSampler(DrawSampler):
    """Draws that ask for a class first, the rarer the more often, and then for one of the images that show it.

    Rare-class sampling of DAFormer (Hoyer et al., CVPR 2022, eq. 4-5): class c has the share f_c of the labelled pixels and is asked for
    with probability softmax((1 - f) / T). Images are drawn with replacement, so there is no pass over the data set. DAFormer also
    repeats the random crop until it shows the class; here the crop stays that of the augmentation.
    """

    def __init__(
        self,
        counts: np.ndarray,
        draws_per_epoch: int,
        seed: int = 0,
        stream: str = "",
        *,
        temperature: float = 0.01,
        min_share: float = 0.0015,
    ) -> None:
        """Set up the sequence.

        Args:
            counts: Pixels of each class and, last, ignored, in each sample of the data set, (N, K + 1).
            draws_per_epoch: As in `DrawSampler`.
            seed: As in `DrawSampler`.
            stream: As in `DrawSampler`.
            temperature: T; the lower, the more the rarest classes are preferred.
            min_share: Least share of an image's pixels with which it shows a class. The default is DAFormer's 3000 pixels of a GTAV
                image, as a share so that it holds for images of any size. Where no image has so much, all with any of the class do.

        Raises:
            ConfigurationError: No pixel has a class.
        """
        super().__init__(len(counts), draws_per_epoch, seed, stream)
        self.probabilities = rare_class_probabilities(counts, temperature)
        self.images = images_with(counts, min_share)

    def _sequence(self, start: int) -> Iterator[Draw]:
        """The endless sequence from position `start` on."""
        number, offset = divmod(start, _BLOCK)
        while True:
            generator = np.random.default_rng([self.seed, self.stream, number])
            classes = generator.choice(len(self.probabilities), size=_BLOCK, p=self.probabilities)
            places, seeds = generator.random(_BLOCK), generator.integers(2**63, size=_BLOCK)
            for position in range(offset, _BLOCK):
                images = self.images[classes[position]]
                yield Draw(int(images[int(places[position] * len(images))]), int(seeds[position]))
            number, offset = number + 1, 0


class DrawLoader(DataLoader[Any]):
    """A loader over a `DrawSampler` whose position is part of the checkpoint.

    Lightning creates the iterator before it tells the sampler the epoch; after `load_state_dict` the draws are right all the same, with
    any number of workers.
    """

    def __init__(self, dataset: Any, *, sampler: DrawSampler, batch_size: int, **options: Any) -> None:
        """Make a loader of full batches.

        Args:
            dataset: A `Domain`.
            sampler: Its draws.
            batch_size: Images per batch.
            options: Further options of the PyTorch loader.

        Raises:
            ConfigurationError: An epoch does not fill one batch.
        """
        if len(sampler) < batch_size:
            raise ConfigurationError(
                f"{len(sampler)} draws per epoch and process do not fill a batch of {batch_size}: "
                "raise loading.draws_per_epoch or lower loading.batch_size."
            )
        sampler.batch_size = batch_size
        # Full batches only: batch norm must not see a batch of one.
        super().__init__(dataset, sampler=sampler, batch_size=batch_size, **(options | {"drop_last": True}))
        self._delivered = (0, 0)

    def __iter__(self) -> Any:
        """Iterate over the current epoch's batches; over the rest of them, once, after `load_state_dict`."""
        # Made at once, not at the first batch, so that the workers of all domains start together.
        batches = super().__iter__()
        # Lightning's `overfit_batches` puts a sampler of its own in place, which needs no position.
        return self._count(batches, self.sampler) if isinstance(self.sampler, DrawSampler) else batches

    def _count(self, batches: Iterator[Any], sampler: DrawSampler) -> Iterator[Any]:
        """Pass the batches on and keep the position."""
        skipped = sampler.skip // (self.batch_size or 1)
        for number, batch in enumerate(batches, start=skipped + 1):
            sampler.skip = 0
            self._delivered = (sampler.epoch, number)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch of the batch that was delivered last, and its number in the epoch, from 1."""
        epoch, batches = self._delivered
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind the batch that was delivered last."""
        epoch, batches = divmod(state["epoch"] * len(self) + state["batches"], len(self))
        sampler: Any = self.sampler
        sampler.set_epoch(epoch)
        sampler.skip = batches * (self.batch_size or 1)
        self._delivered = (epoch, batches)
