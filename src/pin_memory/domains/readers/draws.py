"""What is asked of a data set and done to a decoded pair: training draws, and the transforms that make tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Wanted:
    """A class that a crop is to show, or it is drawn again.

    Attributes:
        train_id: Of the class.
        pixels: Least number of its pixels in the crop.
        tries: Most crops that are drawn; the last one counts, whatever it shows.
    """

    train_id: int
    pixels: int
    tries: int


@dataclass(frozen=True, slots=True)
class Draw:
    """One training draw.

    Attributes:
        index: The sample's index.
        seed: The seed of its augmentation.
        iteration: The iteration that it is trained on in.
        wanted: The class that its crop is to show; None where any crop will do.
    """

    index: int
    seed: int
    iteration: int = 0
    wanted: Wanted | None = None

    def crop(self, make: Callable[[int], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Image and label that `make` draws by the seed of the draw, or by further ones until they show enough of the class."""
        image, label = make(self.seed)
        for number in range(1, self.wanted.tries if self.wanted else 1):
            if self.wanted is None or int((label == self.wanted.train_id).sum()) >= self.wanted.pixels:
                break
            image, label = make(int(np.random.default_rng([self.seed, number]).integers(2**63)))
        return image, label


@runtime_checkable
class Transform(Protocol):
    """Turns a decoded pair into tensors."""

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 RGB and (H, W) uint8 train ids to (3, h, w) uint8 and (h, w) int64."""


@runtime_checkable
class TransformByIteration(Protocol):
    """A transform that depends on the iteration that an image is trained on in."""

    def at(self, iteration: int) -> Transform:
        """The transform in an iteration, counted from 0."""
