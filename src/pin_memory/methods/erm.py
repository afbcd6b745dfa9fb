"""Empirical risk minimisation: all source images in one batch, no memory, no meta-learning (the field's baseline)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pin_memory.methods.base import Method, refuse_memory
from pin_memory.methods.batches import DomainBatch, Labelled, merge


class ERM(Method):
    """Minimises `L_seg + w_aux L_aux` on the mixture of the source domains."""

    name: ClassVar[str] = "erm"

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network with a memory in addition to what every method refuses: it would stay empty."""
        super().check_sources(batch_sizes)
        refuse_memory(self)

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One step on the source mini-batches together."""
        mixed = merge(batch)
        loss = self.loss(mixed)
        self.step_optimizer(self.gradients_of(loss), len(mixed.images))

    def loss(self, part: Labelled) -> Tensor:
        """`L_seg + w_aux L_aux` of some of the images."""
        encoding = self.network.encode(part.images)
        return self.segmentation_loss(self.network.read(encoding.features), encoding, part.labels, domains=part.domains)
