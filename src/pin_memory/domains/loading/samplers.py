"""Training draws that depend on nothing but seed, source and position."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from pin_memory.domains.loading.class_statistics import images_with, rare_class_probabilities
from pin_memory.domains.readers.draws import Draw, Wanted
from pin_memory.utils.distributed import rank, world_size

_BLOCK = 1024  # draws that one generator makes, so that any position is reached without those before it


class DrawSampler:
    """An endless sequence of random permutations of a data set, read from an iteration on.

    An iteration takes `batch_size` draws for each process, which take turns: iteration `i` of all processes together takes the stretch
    `i * n .. (i + 1) * n` of the sequence. So a resumed run continues with the draws that it would have made, and nothing is saved for it.

    Args:
        size: Number of samples of the data set.
        batch_size: Draws of one iteration in one process.
        seed: Seed of the run.
        stream: Name of the source: sources with the same seed get independent draws.
        start: The first iteration that is drawn for, counted from 0.
    """

    def __init__(self, size: int, batch_size: int = 1, seed: int = 0, stream: str = "", start: int = 0) -> None:
        self.size, self.batch_size, self.seed, self.start = size, batch_size, seed, start
        self.stream = zlib.crc32(stream.encode())
        self.rank, self.processes = rank(), world_size()

    def __iter__(self) -> Iterator[Draw]:
        """Return this process's draws, without an end."""
        return self.draws_from(self.start)

    def draws_from(self, iteration: int) -> Iterator[Draw]:
        """Return this process's draws from an iteration on, each with the iteration that it belongs to."""
        sequence = self._sequence(iteration * self.batch_size * self.processes)
        for number, draw in enumerate(islice(sequence, self.rank, None, self.processes)):
            yield replace(draw, iteration=iteration + number // self.batch_size)

    def _sequence(self, position: int) -> Iterator[Draw]:
        """Return the draws of all processes from a position on: one permutation of the data set after the other."""
        number, offset = divmod(position, self.size)
        while True:
            generator = np.random.default_rng([self.seed, self.stream, number])
            order, seeds = generator.permutation(self.size), generator.integers(2**63, size=self.size)
            for index, seed in zip(order[offset:].tolist(), seeds[offset:].tolist(), strict=True):
                yield Draw(index, seed)
            number, offset = number + 1, 0


class RareClassSampler(DrawSampler):
    """Draws that ask for a class first, the rarer the more often, and then for one of the images that show it.

    Rare-class sampling of DAFormer (Hoyer et al., CVPR 2022, eq. 4-5): class c has the share f_c of the labelled pixels and is asked for
    with probability softmax((1 - f) / T). Images are drawn with replacement, so there is no pass over the data set. With
    `crop_pixels`, the crop is drawn again until it shows the class, as DAFormer does (10 tries, half of its 3000 pixels).

    Args:
        counts: Pixels of each class and, last, ignored, in each sample of the data set, (N, K + 1).
        batch_size: As in `DrawSampler`.
        seed: As in `DrawSampler`.
        stream: As in `DrawSampler`.
        start: As in `DrawSampler`.
        temperature: T; the lower, the more the rarest classes are preferred.
        crop_pixels: Least number of pixels of the class in a crop, which is drawn again otherwise; None: the first crop counts.
        crop_tries: Most crops that are drawn for one draw.
        min_share: Least share of an image's pixels with which it shows a class. The default is DAFormer's 3000 pixels of a GTAV image, as a
            share so that it holds for images of any size. Where no image has so much, all with any of the class do.
    """

    def __init__(
        self,
        counts: np.ndarray,
        batch_size: int = 1,
        seed: int = 0,
        stream: str = "",
        start: int = 0,
        *,
        temperature: float = 0.01,
        min_share: float = 0.0015,
        crop_pixels: int | None = None,
        crop_tries: int = 10,
    ) -> None:
        super().__init__(len(counts), batch_size, seed, stream, start)
        self.probabilities = rare_class_probabilities(counts, temperature)
        self.images = images_with(counts, min_share)
        asked = range(len(self.probabilities))
        self.wanted = [None if crop_pixels is None else Wanted(train_id, crop_pixels, crop_tries) for train_id in asked]

    def _sequence(self, position: int) -> Iterator[Draw]:
        """Return the draws of all processes from a position on, made in blocks."""
        number, offset = divmod(position, _BLOCK)
        while True:
            generator = np.random.default_rng([self.seed, self.stream, number])
            classes = generator.choice(len(self.probabilities), size=_BLOCK, p=self.probabilities)
            places, seeds = generator.random(_BLOCK), generator.integers(2**63, size=_BLOCK)
            for place in range(offset, _BLOCK):
                images = self.images[classes[place]]
                index = int(images[int(places[place] * len(images))])
                yield Draw(index, int(seeds[place]), wanted=self.wanted[classes[place]])
            number, offset = number + 1, 0
