"""What is asked of a data set and done to a decoded pair: training draws, and the transforms that make tensors."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draw:
    """One training draw.

    Attributes:
        index: The sample's index.
        seed: The seed of its augmentation.
        iteration: The iteration that it is trained on in.
    """

    index: int
    seed: int
    iteration: int = 0


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
