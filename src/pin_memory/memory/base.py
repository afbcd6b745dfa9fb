"""What every memory is: items as state, read by every pixel and written by labelled ones."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pin_memory.memory import operations


class Reading(NamedTuple):
    """What a read returns: the maps `(B, outputs, h, w)` that the decoder gets, and each item's answer `(B, K, h, w)`.

    The answers are cosines in [-1, 1] in a categorical memory, scores of any size in a ridge memory.
    """

    fused: Tensor
    similarity: Tensor


class Memory(nn.Module):
    """One item per class as a buffer: it travels with `state_dict` and the device, and no optimiser touches it.

    Reading and writing take the items as an argument where others than the stored ones are needed, and change no state; `commit` stores.

    Attributes:
        items: `(K, I)`.
        num_classes: K.
        channels: C of the features that it is asked with.
        outputs: Channels of what a read gives the decoder.
        measure: What a read's answers are, for figures.
        training_only: Names of the parts and buffers that no prediction needs.
        gumbel_in_evaluation: Whether a read in evaluation is random.
    """

    items: Tensor
    num_classes: int
    channels: int
    outputs: int
    measure: ClassVar[str] = "cosine similarity"
    training_only: ClassVar[tuple[str, ...]] = ()
    gumbel_in_evaluation: bool = False

    @property
    def initialised(self) -> bool:
        """Whether any item has been set; a fresh memory is all zeros."""
        return bool(self.items.any())

    @property
    def directions(self) -> Tensor:
        """The items among the features, `(K, C)`."""
        return self.items

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """Ask features `(B, C, h, w)` of the stored items, or of others."""
        raise NotImplementedError

    def write(self, features: Tensor, labels: Tensor, items: Tensor | None = None) -> Tensor:
        """The items after seeing features `(B, C, h, w)` with labels `(B, H, W)`, differentiable; stores nothing."""
        raise NotImplementedError

    def class_sums(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Share-weighted sums `(K, C)` and shares `(K,)` of each class over vectors `(B, C, h, w)` with labels `(B, H, W)`."""
        size = (vectors.shape[2], vectors.shape[3])
        return operations.class_sums(vectors, operations.class_shares_by_area(labels, size, self.num_classes, vectors.dtype))

    @torch.no_grad()
    def commit(self, items: Tensor) -> None:
        """Store `items` as the memory."""
        self.items.copy_(items)
