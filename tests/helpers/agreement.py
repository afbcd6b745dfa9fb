"""What the tests add to runs on several processes: a record of what each has learned, and what makes them comparable to one process."""

import hashlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pin_memory.methods import InstanceSelectiveWhitening
from pin_memory.utils.distributed import rank


class Fingerprints(Callback):
    """Writes `<folder>/<rank>.txt`, a line every `every` steps: steps made, a hash of the parameters, the memory and the whitening masks.

    Args:
        folder: It is made.
        every: Steps between two lines.
    """

    def __init__(self, folder: str, every: int = 1) -> None:
        self.folder, self.every = Path(folder), every

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Add a line to the file of this process."""
        if trainer.global_step % self.every:
            return
        digest = hashlib.sha256()
        whitening = pl_module.whitening.masks if pl_module.whitening else []
        for tensor in (*pl_module.network.parameters(), pl_module.network.memory.items, *whitening):
            digest.update(tensor.detach().cpu().numpy().tobytes())
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{rank()}.txt").open("a") as file:
            file.write(f"{trainer.global_step} {digest.hexdigest()} {len(whitening)}\n")


class Comparable(Callback):
    """Takes away what differs between one process and several by design: each rank's own batch statistics on CPUs, drop-out, noise."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Batch norm goes by its running statistics."""
        for module in pl_module.modules():
            if isinstance(module, (_BatchNorm, nn.Dropout, nn.Dropout2d)):
                module.eval()


class ChannelsFlipped(InstanceSelectiveWhitening):
    """Recolours without chance."""

    def recolour(self, images: Tensor) -> Tensor:
        """Red becomes blue."""
        return images.flip(1)
