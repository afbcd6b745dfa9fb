"""Sums over the processes ("ranks") of a distributed run; in a single process everything here changes nothing.

Manual optimisation with `torch.autograd.grad` bypasses the reduction that DistributedDataParallel does in `backward`. What has to agree on
all ranks - gradients of both steps, memory writes, the number of labelled pixels that a loss is a mean over - is therefore summed here. The
rule is that `n` ranks with a part of the images each take the step that one process with all of them takes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pin_memory.utils.processes import is_first

__all__ = [
    "broadcast_state", "concatenate_over_ranks", "gather_objects", "is_first", "items_of_rank", "mean_over_ranks", "rank", "sum_over_ranks",
    "world_size",
]  # fmt: skip


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sum each tensor over the ranks, in one message for all of them; shapes, and the one type of all, are those of every rank.

    Differentiable any number of times: what the sum's gradient is on one rank belongs to every rank's tensor, so backward sums, too. The
    sums are equal bit by bit on all ranks.
    """
    if world_size() == 1:
        return list(tensors)
    flat = _Sum.apply(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def mean_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Average each tensor over the ranks, as `sum_over_ranks` sums it."""
    number = world_size()
    return list(tensors) if number == 1 else [tensor / number for tensor in sum_over_ranks(tensors)]


@torch.no_grad()
def concatenate_over_ranks(tensor: Tensor) -> Tensor:
    """The tensors `(N, ...)` of all ranks, of one shape, in the order of the ranks; a constant in the gradient."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def items_of_rank(items: Sequence[Any]) -> Sequence[Any]:
    """Every `world_size`-th item, starting at this rank's number: no item twice, none left out."""
    return items[rank() :: world_size()]


def gather_objects(own: Any) -> list[Any]:
    """Plain containers of every process, in the order of the ranks. All processes have to call it."""
    if world_size() == 1:
        return [own]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, own)
    return found


@torch.no_grad()
def broadcast_state(module: nn.Module) -> None:
    """Give every rank the state of the first one: the checkpoint that it has chosen, and running statistics gathered on its images."""
    if world_size() > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor, src=0)


class _Sum(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced in turn."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        total = flat.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.apply(gradient)
