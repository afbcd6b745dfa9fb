"""Activation checkpointing: keep the input of a module in place of all its activations, and compute these again in the backward pass."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def checkpointed(module: nn.Module, *inputs: Any) -> Any:
    """Run `module` without keeping its activations; the same output and gradients, for one more forward pass.

    The backward pass comes when `torch.func.functional_call` has given the network its own weights back, and would compute the activations
    again with these. So the tensors of the forward pass are held, fast weights or not. Running statistics are updated by the first
    run only: the second one gets copies of the buffers. What `module` draws at random would be drawn anew.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    again = False

    def run(*inputs: Any) -> Any:
        nonlocal again
        if not again:
            again = True
            return module(*inputs)
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        return functional_call(module, {**parameters, **copies}, inputs)

    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)
