"""Activation checkpointing that works with fast weights and batch norm, and which parts of a network are its blocks."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from pin_memory.utils.errors import ConfigurationError


def checkpointed(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Run `module` and keep its input alone; its activations are computed again in the backward pass, with the same output and gradients.

    The backward pass comes when `torch.func.functional_call` has given the network its own weights back, and would compute the activations
    again with these. So the tensors of the forward pass are held, fast weights or not. Running statistics are updated by the first
    run only: the second one gets copies of the buffers. What `module` draws at random (drop-out, stochastic depth) is drawn again.
    """
    if not torch.is_grad_enabled():
        return module(*inputs, **options)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    again = False

    def run(*inputs: Any) -> Any:
        nonlocal again
        if not again:
            again = True
            return module(*inputs, **options)
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        return functional_call(module, {**parameters, **copies}, inputs, options)

    draws = any(getattr(part, "drop_prob", 0) or getattr(part, "p", 0) for part in module.modules())  # keeping the state waits for a GPU
    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=draws)


def checkpoint_blocks(network: nn.Module) -> None:
    """Let every block keep its input alone; the names of its tensors stay as they are.

    Raises:
        ConfigurationError: The network has no blocks.
    """
    blocks = list(blocks_of(network)) or [stage for stage in network.children() if _is_composite(stage)]
    if not blocks:
        raise ConfigurationError(f"network.backbone.checkpointing: {type(network).__name__} has no blocks that could be computed again.")
    for block in blocks:
        block.__class__ = _checkpointed_class(type(block))


class _Checkpointed(nn.Module):
    """A block that computes its activations again in the backward pass."""

    def forward(self, *inputs: Any, direct: bool = False, **options: Any) -> Any:
        """Run the block, `direct` from inside."""
        return super().forward(*inputs, **options) if direct else checkpointed(self, *inputs, direct=True, **options)


def _checkpointed_class(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a block, checkpointed."""
    return type(f"Checkpointed{kind.__name__}", (_Checkpointed, kind), {})


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost elements of sequences that have parts of their own: residual blocks, inverted bottlenecks, transformer layers."""
    for child in module.children():
        inner = list(blocks_of(child))
        if inner:
            yield from inner
        elif isinstance(module, nn.Sequential | nn.ModuleList) and _is_composite(child):
            yield child


def _is_composite(module: nn.Module) -> bool:
    """Whether a module is more than a layer or a chain of layers."""
    return not isinstance(module, nn.Sequential) and sum(1 for child in module.children() if any(True for _ in child.parameters())) > 1
