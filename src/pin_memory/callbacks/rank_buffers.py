"""What the processes of a run hold differently: running statistics of batch norm, where it is not synchronised."""

import logging
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pin_memory.utils.distributed import is_first, rank, world_size

log = logging.getLogger(__name__)

_KEY = "rank_buffers"


class RankBuffers(Callback):
    """Keeps the buffers of every process in the checkpoint, which by itself holds those of the first one.

    On CPUs each process normalises by its own images. The running statistics that follow decide what the process commits to the memory,
    so that a resumed run needs them all. A run that goes on with another number of processes takes those of the first for all.
    """

    def __init__(self) -> None:
        self._found: Tensor | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gather them; all processes save together."""
        if world_size() > 1:
            own = torch.cat([buffer.detach().double().reshape(-1) for buffer in _buffers(pl_module)])
            found = [torch.empty_like(own) for _ in range(world_size())]
            dist.all_gather(found, own)
            checkpoint[_KEY] = torch.stack(found).cpu()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep them until the processes have got those of the first one, which PyTorch sends round."""
        self._found = checkpoint.get(_KEY)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give this process its own."""
        found, self._found = self._found, None
        if (found is None and world_size() == 1) or trainer.global_step == 0:
            return
        if found is None or len(found) != world_size():
            if is_first():
                log.warning("Going on with %d processes, not with as many as before: not to the same bits.", world_size())
            return
        start = 0
        with torch.no_grad():
            for buffer in _buffers(pl_module):
                buffer.copy_(found[rank(), start : start + buffer.numel()].view_as(buffer))
                start += buffer.numel()
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            # Its first forward pass, and no other one where optimisation is by hand, would send those of the first process round again.
            trainer.strategy.model.require_forward_param_sync = False


def _buffers(module: LightningModule) -> list[Tensor]:
    """The buffers of floating-point numbers, in order."""
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]
