"""Another augmentation on the meta-test side of each iteration (Pin the Memory trains the side that judges the memory on harder views)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pin_memory.domains.readers.draws import Transform

Split = Callable[[Sequence[str], int], tuple[list[str], list[str]]]
"""Names of the meta-train and of the meta-test domains, from all names and the iteration."""


@dataclass(frozen=True)
class MetaTestAugmentation:
    """The augmentation of a source domain, which depends on the side that the domain is on.

    The released code meant this, but gives the harder views to the first listed domain for ever. A split is a function of the iteration,
    and so is a training draw, so the side is known where the image is read, in any number of loading processes.

    Attributes:
        meta_train: For iterations in which the domain is on the meta-train side.
        meta_test: For the others.
        split: That of the method.
        domains: Names of all sources, in the order that the method sees.
        name: The domain's own.
    """

    meta_train: Transform
    meta_test: Transform
    split: Split
    domains: tuple[str, ...]
    name: str

    def at(self, iteration: int) -> Transform:
        """The augmentation in an iteration, counted from 0."""
        return self.meta_test if self.name in self.split(self.domains, iteration)[1] else self.meta_train

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Augment a pair outside of any iteration, as on the meta-train side."""
        return self.meta_train(image, label, seed)
