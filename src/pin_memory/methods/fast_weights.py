"""Fast weights: the network after a virtual gradient step, without a copy of the network."""

from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pin_memory.methods.optimisation import is_slow
from pin_memory.utils.distributed import mean_over_ranks


class FastWeights:
    """Parameters Θ' = Θ - α ∇L_in(Θ) that stand in for a network's own (Pin the Memory, section 3.4; MLDG, AAAI 2018).

    Stages run with them through `torch.func.functional_call`, with clones of the buffers, so that running statistics of the network stay
    as the inner pass left them. The outer gradient is taken by the tensors `differentiate`: Θ' (first order) or Θ (second order).
    `directions` are the inner gradients, those of the backbone times the factor on its learning rate: (Θ - Θ') / α.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: dict[str, Tensor],
        inner_gradients: dict[str, Tensor],
        directions: list[Tensor],
        differentiate: dict[str, Tensor],
    ) -> None:
        self.network, self.parameters, self.directions = network, parameters, directions
        self.inner_gradients, self._differentiate = inner_gradients, differentiate

    @classmethod
    def after_step(
        cls, network: nn.Module, loss: Tensor, lr: float, first_order: bool = True, backbone_lr_factor: float = 1.0
    ) -> "FastWeights":
        """Take one SGD step (no momentum, no weight decay) on the inner `loss`, whose gradient is averaged over the ranks.

        With `first_order` the inner gradient is a constant (dΘ'/dΘ = I), as in the released code; otherwise it stays in the graph.
        """
        parameters: dict[str, Tensor] = {name: p for name, p in network.named_parameters() if p.requires_grad}
        values = torch.autograd.grad(
            loss, list(parameters.values()), create_graph=not first_order, allow_unused=True, materialize_grads=True
        )
        gradients = dict(zip(parameters, mean_over_ranks(values), strict=True))
        step = torch.no_grad() if first_order else nullcontext()
        with step:  # all parameters in a few kernels
            directions = list(gradients.values())
            if backbone_lr_factor != 1:
                factors = [backbone_lr_factor if is_slow(name) else 1.0 for name in parameters]
                directions = list(torch._foreach_mul(directions, factors))
            values = torch._foreach_add(list(parameters.values()), directions, alpha=-lr)
        stepped = dict(zip(parameters, values, strict=True))
        if first_order:
            stepped = {name: p.requires_grad_() for name, p in stepped.items()}
        detached = {name: g.detach() for name, g in gradients.items()}
        return cls(network, stepped, detached, [each.detach() for each in directions], stepped if first_order else parameters)

    def call(self, stage: str, *args: Any) -> Any:
        """Run `stage` of the network with the fast weights; the network's parameters and buffers are not touched."""
        return functional_call(self.network, {**self.parameters, **self._buffers}, args, {"stage": stage})

    @cached_property
    def _buffers(self) -> dict[str, Tensor]:
        """Clones for all stages: running statistics that a pass in training mode leaves in them are read by none."""
        return {name: b.clone() for name, b in self.network.named_buffers()}

    def total_gradients(self, outer_loss: Tensor) -> dict[str, Tensor]:
        """∇_Θ L_in(Θ) + ∇_Θ L_out(Θ') by parameter name, means over the ranks; consumes the graph."""
        outer = torch.autograd.grad(outer_loss, list(self._differentiate.values()), allow_unused=True, materialize_grads=True)
        total = torch._foreach_add(list(self.inner_gradients.values()), mean_over_ranks(outer))
        return dict(zip(self._differentiate, total, strict=True))
