"""Activation checkpointing that works with fast weights and batch norm."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


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
