"""Episodes as a data set: the images of an episode, read, cropped and labelled with its own classes."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pin_memory.domains.few_shot.episodes import Episode, EpisodeSampler
from pin_memory.domains.few_shot.protocols import SupportLabels
from pin_memory.domains.loading.views import resized
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import Sample
from pin_memory.utils.images import to_tensors
from pin_memory.utils.labels import IGNORE

_CROPS = 10  # that are tried for one that shows the class


@dataclass(frozen=True)
class WholeImage:
    """Shows a whole image at one size, whatever its shape, so that the images of an episode fit together.

    Attributes:
        size: (height, width) in pixels.
    """

    size: tuple[int, int]

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 RGB and (H, W) uint8 to (3, h, w) uint8, bicubic, and (h, w) int64, nearest; nothing is random."""
        return to_tensors(resized(image, *self.size), resized(label, *self.size, Image.Resampling.NEAREST))


def episode_table(classes: Sequence[int], ignored: Iterable[int] = ()) -> np.ndarray:
    """The episode's label of each train id, (256,) uint8: i + 1 for the i-th of `classes`, `IGNORE` for those ignored and 255, else 0."""
    table = np.zeros(256, np.uint8)
    table[[*ignored, IGNORE]] = IGNORE
    table[list(classes)] = range(1, len(classes) + 1)
    return table


class Episodes(Dataset[dict[str, Any]]):
    """The episodes of a sampler, by their numbers.

    Args:
        domains: Opened splits, whose images are the sampler's, one domain after the other.
        sampler: Says which images an episode takes.
        size: (height, width) of whole images.
        support_labels: What the label of a support image holds.
        ignored: Train ids that are ignored rather than background where they are no class of the episode.
        augmentations: Of each domain, for crops of chance of that size; None for whole images. A crop that does not show its class is drawn
            again; after ten tries the whole image is taken.
        min_pixels: Pixels with which an image shows a class; a quarter of them have to be in a crop, as at half the size.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        sampler: EpisodeSampler,
        size: tuple[int, int],
        support_labels: SupportLabels = "all",
        ignored: Sequence[int] = (),
        augmentations: Sequence[Transform] | None = None,
        min_pixels: int = 1,
    ) -> None:
        self.domains, self.sampler, self.support_labels, self.ignored = list(domains), sampler, support_labels, tuple(ignored)
        self.whole, self.augmentations = WholeImage(size), augmentations
        self.needed = max(1, min_pixels // 4)
        self._ends = list(accumulate(len(domain) for domain in domains))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read an episode.

        Returns:
            "support" and "query": "image" (S, 3, H, W) uint8 RGB and "label" (S, H, W) int64: 0 for the background, 1..K for the classes,
            255. "classes": their train ids, (K,). "name": the number and the names of the query images.

        Raises:
            DataError: An image or a label cannot be read.
        """
        episode, shot = self.sampler.episode(number), self.sampler.shot
        everything = episode_table(episode.classes, self.ignored)
        support = [
            self._read(episode, place, image, self._support_table(episode, place // shot), place // shot + 1)
            for place, image in enumerate(episode.support)
        ]
        queries = [
            self._read(episode, len(support) + place, image, everything, place + 1 if self.sampler.queries == "per_class" else None)
            for place, image in enumerate(episode.queries)
        ]
        names = "-".join(self._sample(image).name for image in episode.queries)
        parts = {"support": _stacked(support), "query": _stacked(queries)}
        return {**parts, "classes": torch.tensor(episode.classes), "name": f"{number:06}-{names}"}

    def _support_table(self, episode: Episode, own: int) -> np.ndarray:
        """The label of each train id in a support image of the class at a place in the episode."""
        if self.support_labels == "all":
            return episode_table(episode.classes, self.ignored)
        others = [c for place, c in enumerate(episode.classes) if place != own]
        table = episode_table([], [*self.ignored, *(others if self.support_labels == "own_else_ignored" else ())])
        table[episode.classes[own]] = own + 1
        return table

    def _read(self, episode: Episode, place: int, image: int, table: np.ndarray, shown: int | None) -> tuple[Tensor, Tensor]:
        """Read the image at a place of an episode; a crop has to show the label `shown`, or any class of the episode if that is None."""
        pixels, train_ids = self._domain(image).read_pair(self._sample(image))
        label = np.asarray(cv2.LUT(train_ids, table))
        if self.augmentations is None:
            return self.whole(pixels, label)
        augmentation = self.augmentations[self._number(image)]
        wanted = [shown] if shown is not None else range(1, len(episode.classes) + 1)
        needed = min(self.needed, int(np.isin(label, wanted).sum()))
        for seed in np.random.default_rng([episode.seed, place]).integers(2**63, size=_CROPS).tolist():
            crop, crop_label = augmentation(pixels, label, seed)
            if int(torch.isin(crop_label, torch.tensor(wanted)).sum()) >= needed:
                return crop, crop_label
        return self.whole(pixels, label)

    def _number(self, image: int) -> int:
        """The number of the domain that an image of the pool is of."""
        return bisect_right(self._ends, image)

    def _domain(self, image: int) -> Domain:
        return self.domains[self._number(image)]

    def _sample(self, image: int) -> Sample:
        domain = self._domain(image)
        return domain.samples[image - self._ends[self._number(image)] + len(domain)]


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    images, labels = zip(*pairs, strict=True)
    return {"image": torch.stack(images), "label": torch.stack(labels)}
