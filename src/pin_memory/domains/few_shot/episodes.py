"""Which images an episode takes, as a function of a seed and the episode's number alone."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pin_memory.domains.few_shot.protocols import Queries
from pin_memory.domains.loading.class_statistics import class_counts
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import ConfigurationError


@dataclass(frozen=True)
class Episode:
    """The images of an episode, as places in the pool of all images.

    Attributes:
        number: The episode's.
        seed: Of all that is random about its images.
        classes: Train ids of its K classes; the i-th has the label i + 1.
        support: K times `shot` images: those of the first class, then those of the second, and so on.
        queries: The images that are segmented.
    """

    number: int
    seed: int
    classes: tuple[int, ...]
    support: tuple[int, ...]
    queries: tuple[int, ...]


def shown_classes(domains: Sequence[Domain], min_pixels: int = 1, workers: int | None = None) -> np.ndarray:
    """Which classes the images of several domains show, one domain after the other, (N, K) bool; each label is read once.

    Args:
        domains: Opened splits with one class list.
        min_pixels: Pixels of a class with which an image shows it.
        workers: Processes that read; None for one per CPU.

    Returns:
        True where an image shows a class. The counts of pixels are kept in the user's cache (`class_statistics`).
    """
    return np.concatenate([class_counts(domain, workers)[:, :-1] >= min_pixels for domain in domains])


class EpisodeSampler:
    """Episodes by their numbers.

    Every support image shows its class; no image is both support and query, nor two queries or two support images of one class.

    Args:
        shown: Which classes the images show, (N, K) bool.
        classes: Train ids of the classes that episodes are made of.
        way: Classes of an episode.
        shot: Support images of each class.
        queries: Which images are queried.
        seed: With an episode's number, it decides everything.
        stream: A name; samplers of different streams draw independently.
        in_turn: Whether queries walk over the pairs of class and image, rather than being drawn; with "one".
        names: Of all classes, for messages.

    Attributes:
        pairs: Train id and image of each class and each image that shows it, (P, 2).

    Raises:
        ConfigurationError: There are fewer classes than ways, too few images show a class, or none shows as many as are asked for.
    """

    def __init__(
        self,
        shown: np.ndarray,
        classes: Sequence[int],
        way: int = 1,
        shot: int = 1,
        queries: Queries = "one",
        seed: int = 0,
        stream: str = "",
        in_turn: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        self.shown, self.classes = shown, np.array(classes)
        self.way, self.shot, self.queries, self.seed = way, shot, queries, seed
        self.stream, self.in_turn = zlib.crc32(stream.encode()), in_turn and queries == "one"
        where = f"{stream} episodes" if stream else "episodes"
        if len(classes) < way:
            raise ConfigurationError(f"way={way}: {where} have {len(classes)} classes to draw from. Lower way, or take another fold.")
        needed = shot + (way if queries == "per_class" else 1)
        for train_id, images in zip(classes, shown[:, self.classes].sum(0).tolist(), strict=True):
            if images < needed:
                name = train_id if names is None else names[train_id]
                advice = "Lower shot or min_pixels, or take the class out."
                raise ConfigurationError(f"{where} need {needed} images of each class, but {images} show {name}. {advice}")
        self.pairs = np.array([(c, image) for c in classes for image in np.flatnonzero(shown[:, c])])
        self._all_shown = np.flatnonzero(shown[:, self.classes].sum(1) >= way)
        if queries == "both_present" and not len(self._all_shown):
            raise ConfigurationError(f"queries=both_present: no image of the {where} shows {way} of their classes at once.")

    def episode(self, number: int) -> Episode:
        """Draw the episode of a number."""
        generator = np.random.default_rng([self.seed, self.stream, number])
        classes, queries = self._classes_and_queries(generator, number)
        support = [image for c in classes for image in self._draw(generator, c, self.shot, queries)]
        return Episode(number, int(generator.integers(2**63)), tuple(classes), tuple(support), tuple(queries))

    def _classes_and_queries(self, generator: np.random.Generator, number: int) -> tuple[list[int], list[int]]:
        """The episode's classes, in an order of chance, and its query images."""
        if self.queries == "both_present":
            query = int(generator.choice(self._all_shown))
            present = [c for c in self.classes if self.shown[query, c]]
            return generator.choice(present, self.way, replace=False).tolist(), [query]
        if self.queries == "any":
            own, query = self.pairs[generator.integers(len(self.pairs))].tolist()
            return self._half_with(generator, own), [query]
        if self.in_turn:
            own, query = self.pairs[number % len(self.pairs)].tolist()
            others = generator.choice(self.classes[self.classes != own], self.way - 1, replace=False)
            return generator.permutation([own, *others]).tolist(), [query]
        classes = generator.choice(self.classes, self.way, replace=False).tolist()
        queries: list[int] = []
        for c in classes if self.queries == "per_class" else [generator.choice(classes)]:
            queries += self._draw(generator, c, 1, queries)
        return classes, queries

    def _half_with(self, generator: np.random.Generator, own: int) -> list[int]:
        """Draw classes one after the other, `own` with weight 1/2, the others sharing the rest (iFSL)."""
        if len(self.classes) == 1:
            return [own]
        weights = np.where(self.classes == own, 0.5, 0.5 / (len(self.classes) - 1))
        classes: list[int] = generator.choice(self.classes, self.way, replace=False, p=weights).tolist()
        return classes

    def _draw(self, generator: np.random.Generator, train_id: int, count: int, without: Sequence[int]) -> list[int]:
        """Draw images that show a class, none twice and none of `without`."""
        images = np.setdiff1d(np.flatnonzero(self.shown[:, train_id]), without)
        drawn: list[int] = generator.choice(images, count, replace=False).tolist()
        return drawn
