"""A copy of a network's buffers, such as running statistics, to go back to."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class KeptBuffers:
    """Holds one copy of every buffer, made in place from the second time on: a GPU gets a few kernels in place of one for each buffer."""

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    def keep(self, network: nn.Module) -> None:
        """Copy the buffers as they are; room is made for those that are new, or of another shape, type or device than before."""
        buffers = dict(network.named_buffers())
        self._copies = {name: _room(buffer, self._copies.get(name)) for name, buffer in buffers.items()}
        _copy(list(self._copies.values()), list(buffers.values()))

    def restore(self, network: nn.Module) -> None:
        """Give the buffers back what they were when they were kept; one that is new since then stays as it is."""
        buffers = {name: buffer for name, buffer in network.named_buffers() if name in self._copies}
        _copy(list(buffers.values()), [self._copies[name] for name in buffers])


def _room(buffer: Tensor, earlier: Tensor | None) -> Tensor:
    """The earlier copy if it can hold the buffer, otherwise a new one."""
    if earlier is not None and (earlier.shape, earlier.dtype, earlier.device) == (buffer.shape, buffer.dtype, buffer.device):
        return earlier
    return torch.empty_like(buffer)


@torch.no_grad()
def _copy(to: Sequence[Tensor], of: Sequence[Tensor]) -> None:
    """Copy tensors onto others, those of one type and device at once: counters are int64, and a mixed list would be copied one by one."""
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(to, of, strict=True):
        targets, sources = groups.setdefault((target.device, target.dtype), ([], []))
        targets.append(target)
        sources.append(source)
    for targets, sources in groups.values():
        torch._foreach_copy_(targets, sources)
