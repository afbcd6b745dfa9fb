"""Faults that numbers may have, put into a run at a chosen iteration, and what the state was when each iteration began."""

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class Poison(Callback):
    """Spoils one iteration, or some one after the other.

    Args:
        iteration: Which one, from 0; None spoils none, -1 all.
        times: How many from that one on.
        kind: "image": a pixel of the first image of `domain` is NaN; "gradient": that of the decoder's first weight is infinite; "memory":
            row 3 of what is written after the step is NaN.
        domain: Of "image".
    """

    states: dict[int, dict[str, Any]]
    """State at the beginning of each iteration of the newest run."""

    def __init__(self, iteration: int | None = None, kind: str = "image", domain: str = "gtav", times: int = 1) -> None:
        self.iteration, self.kind, self.domain, self.times = iteration, kind, domain, times
        self._undo: Any = None
        type(self).states = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the state, then spoil the iteration if it is the one."""
        type(self).states[trainer.global_step] = state_of(trainer, pl_module)
        if self.iteration is None or (self.iteration >= 0 and not 0 <= trainer.global_step - self.iteration < self.times):
            return
        if self.kind == "image":
            batch[self.domain]["image"][0, 0, 5, 5] = float("nan")
        elif self.kind == "gradient":
            weight = next(pl_module.network.decoder.parameters())
            self._undo = weight.register_hook(lambda gradient: torch.full_like(gradient, float("inf"))).remove
        else:
            self._spoil_writes(pl_module.network)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Spoil nothing further."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _spoil_writes(self, network: Any) -> None:
        """Writes in evaluation mode are those that are stored."""
        write = network.write

        def spoilt(*args: Any) -> Tensor:
            items = write(*args)
            if not network.training:
                items[3] = float("nan")
            return items

        network.write = spoilt
        self._undo = lambda: delattr(network, "write")


def state_of(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Copies of weights, buffers and optimiser."""
    (optimizer,) = trainer.optimizers
    return {"model": {k: v.clone() for k, v in module.state_dict().items()}, "optimizer": copy.deepcopy(optimizer.state_dict())}
