"""Empirical risk minimisation: all source images in one batch, no memory, no meta-learning (the field's baseline)."""

from typing import ClassVar

import torch

from pin_memory.errors import ConfigurationError
from pin_memory.methods.base import Method, count
from pin_memory.methods.batches import DomainBatch, merge


class ERM(Method):
    """Minimises `L_seg + w_aux L_aux` on the mixture of the source domains."""

    name: ClassVar[str] = "erm"

    def check_sources(self, domains: list[str], batch_size: int) -> None:
        """Refuse a network with a memory besides what every method refuses: it would stay empty."""
        super().check_sources(domains, batch_size)
        if self.network.memory is not None:
            raise ConfigurationError("method=erm trains the plain network, found one with a memory: set network.memory=null.")

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One step on the source mini-batches together."""
        mixed = merge(batch)
        encoding = self.network.encode(mixed.images)
        loss = self.segmentation_loss(self.network.read(encoding.features), encoding, mixed.labels)
        parameters = dict(self.network.named_parameters())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        self.step_optimizer(dict(zip(parameters, gradients, strict=True)), count(mixed))
        self.log_losses(total=loss)
