"""Moments of each domain over the iterations, so that a regression sees more than the few images of one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pin_memory.memory.ridge import Moments


class RunningMoments(nn.Module):
    """Sums that follow the features of each domain: `H ← μ H + now`, with a fixed point of `1 / (1 - μ)` iterations.

    The sums are buffers, so that a checkpoint holds them; a fresh module has none.

    Args:
        momentum: μ; with 0 nothing of the past counts, and nothing is kept.
    """

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum

    def joined(self, domain: str, now: Moments) -> Moments:
        """`μ H + now` of a domain, in the graph of `now`; stores nothing."""
        past = dict(self.named_buffers())
        if _name(domain, "gram") not in past:
            return now
        return Moments(*(self.momentum * past[_name(domain, key)] + value for key, value in now._asdict().items()))

    def store(self, joined: Mapping[str, Moments]) -> None:
        """Take what `joined` has returned as the past of these domains."""
        if self.momentum > 0:
            for domain, found in joined.items():
                for key, value in found._asdict().items():
                    self.register_buffer(_name(domain, key), value.detach())

    def make_room(self, state: Mapping[str, Tensor], prefix: str, device: torch.device) -> None:
        """Have the buffers that a state dict has below `prefix`, and no others, on the device of the method."""
        for name in [name for name, _ in self.named_buffers() if f"{prefix}{name}" not in state]:
            delattr(self, name)
        for name, value in state.items():
            if name.startswith(prefix):
                self.register_buffer(name.removeprefix(prefix), torch.zeros_like(value, device=device))


def _name(domain: str, key: str) -> str:
    """The name of a buffer, which may have no dot, as a domain's may (`kitti.v2`)."""
    return f"{key}_{domain.replace('%', '%25').replace('.', '%2E')}"
