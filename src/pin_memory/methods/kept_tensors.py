"""Copies of tensors, such as running statistics, to go back to."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class KeptTensors:
    """Holds one copy of every tensor, made in place from the second time on: a GPU gets a few kernels in place of one for each tensor."""

    def __init__(self) -> None:
        self._copies: dict[object, Tensor] = {}

    def keep(self, tensors: Mapping[object, Tensor]) -> None:
        """Copy tensors as they are; room is made for those that are new, or of another shape, type or device than before."""
        self._copies = {name: _room(tensor, self._copies.get(name)) for name, tensor in tensors.items()}
        _copy(list(self._copies.values()), list(tensors.values()))

    @torch.no_grad()
    def give_back(self, tensors: Mapping[object, Tensor], where: Tensor | None = None) -> None:
        """Give tensors back what they were when they were kept; one that is new since then stays as it is.

        Args:
            tensors: By the names that they were kept by; changed in place.
            where: Whether to, `()` bool, decided on the device of the tensors; None for yes.
        """
        kept = {name: tensor for name, tensor in tensors.items() if name in self._copies}
        if where is None:
            _copy(list(kept.values()), [self._copies[name] for name in kept])
            return
        for name, tensor in kept.items():
            torch.where(where, self._copies[name], tensor, out=tensor)

    def forget(self) -> None:
        """Give the room back."""
        self._copies = {}


def _room(tensor: Tensor, earlier: Tensor | None) -> Tensor:
    """The earlier copy if it can hold the tensor, otherwise a new one."""
    if earlier is not None and (earlier.shape, earlier.dtype, earlier.device) == (tensor.shape, tensor.dtype, tensor.device):
        return earlier
    return torch.empty_like(tensor, requires_grad=False)


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
