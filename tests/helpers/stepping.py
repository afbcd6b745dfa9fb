"""Methods that step without a Trainer: optimiser, schedule and iteration counter by hand."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pin_memory.methods import ERM, MLDG, ERMMemory, MetaSegNet, MetaSegNetDG, Method, PinTheMemory


class WithoutTrainer(Method):
    """Overrides what Lightning would provide."""

    def prepare(self) -> Any:
        """Make optimiser and schedule."""
        (self._used_optimizer,), (self._used_schedule,) = self.configure_optimizers()
        self.steps = 0
        return self

    def optimizers(self, use_pl_optimizer: bool = True) -> Optimizer:
        """The one optimiser."""
        return self._used_optimizer

    def lr_schedulers(self) -> LRScheduler:
        """The one schedule."""
        return self._used_schedule

    @property
    def iteration(self) -> int:
        """Steps made by hand."""
        return self.steps

    def step_optimizer(self, gradients: dict[str, Tensor], images: int, inner_gradients: Mapping[str, Tensor] | None = None) -> None:
        """Step and count."""
        super().step_optimizer(gradients, images, inner_gradients)
        self.steps += 1


class ByHand(WithoutTrainer):
    """Keeps the gradients and the logged loss terms."""

    def prepare(self) -> "ByHand":
        """Make optimiser and schedule."""
        super().prepare()
        self.terms, self.gradients = {}, {}
        return self

    def step_optimizer(self, gradients: dict[str, Tensor], images: int, inner_gradients: Mapping[str, Tensor] | None = None) -> None:
        """Keep the gradients, then step."""
        self.gradients = {k: v.clone() for k, v in gradients.items()}
        super().step_optimizer(gradients, images, inner_gradients)

    def log_losses(self, **terms: Any) -> None:
        """Keep the terms."""
        self.losses |= {k: v.detach() for k, v in terms.items()}
        self.terms |= {k: float(v.detach()) for k, v in terms.items()}


class PinTheMemoryByHand(ByHand, PinTheMemory):
    """Pin the Memory without a Trainer."""


class ERMByHand(ByHand, ERM):
    """ERM without a Trainer."""


class MLDGByHand(ByHand, MLDG):
    """MLDG without a Trainer."""


class ERMMemoryByHand(ByHand, ERMMemory):
    """ERM with a memory, without a Trainer."""


class MetaSegNetDGByHand(ByHand, MetaSegNetDG):
    """MetaSegNet over domains, without a Trainer."""


class MetaSegNetByHand(ByHand, MetaSegNet):
    """MetaSegNet on episodes, without a Trainer."""
