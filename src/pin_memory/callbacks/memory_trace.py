"""How the memory moves while it is trained."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write
from pin_memory.utils.traces import FILE

log = logging.getLogger(__name__)

_RECORDS = 100


class MemoryTrace(Callback):
    """Keep the memory items at the start, every so many iterations and at the end, in `memory_trace.npz`.

    The trace travels in the checkpoints, so a run that starts from another run's checkpoint in a new folder continues it, too. The file is
    written after every validation and when training ends, however it ends; one that cannot be written is reported once and does not stop
    the training. A network without memory leaves no file.

    Args:
        directory: The run folder.
        every: Iterations between two records; None: a hundredth of the run, so a trace holds about 100 records of K x C numbers.

    Raises:
        ConfigurationError: `every` is less than 1.
    """

    def __init__(self, directory: str | Path, every: int | None = None) -> None:
        super().__init__()
        if every is not None and every < 1:
            raise ConfigurationError(f"callbacks.memory_trace.every={every}: expected a number of iterations of at least 1, or null.")
        self.path = Path(directory) / FILE
        self.every = every
        self._steps: list[int] = []
        self._items: list[Tensor] = []
        self._interval = every or 1
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the interval, now that the length of the run is known, and drop records of iterations that are made again."""
        known = sum(step <= trainer.global_step for step in self._steps)
        self._steps, self._items = self._steps[:known], self._items[:known]
        total = trainer.estimated_stepping_batches
        self._interval = self.every or max(1, round(total / _RECORDS) if math.isfinite(total) else _RECORDS)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Record the memory that training starts from; the method fills it after this callback's `on_train_start`."""
        if not self._steps:
            self._record(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the memory if it is time."""
        if trainer.global_step % self._interval == 0:
            self._record(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what there is, for those who look at a run that is not finished."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and write the last memory."""
        self._record(trainer, pl_module)
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the records made so far."""
        if trainer.state.fn == "fit":
            self._write(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The records so far, as tensors: a checkpoint is loaded without running code."""
        return {"step": torch.tensor(self._steps), "items": torch.stack(self._items)} if self._steps else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the records of the run that is resumed."""
        if state_dict:
            self._steps, self._items = state_dict["step"].tolist(), list(state_dict["items"].cpu())

    def _record(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep the memory as it is, once for an iteration."""
        memory = getattr(getattr(module, "network", None), "memory", None)
        if memory is None or not memory.initialised or (self._steps and self._steps[-1] >= trainer.global_step):
            return
        self._steps.append(trainer.global_step)
        self._items.append(memory.items.float().cpu().clone())

    def _write(self, trainer: Trainer) -> None:
        if not self._steps or not trainer.is_global_zero:
            return
        try:
            with atomic_write(self.path) as temporary:
                np.savez(temporary, step=np.array(self._steps, np.int64), items=torch.stack(self._items).numpy())
        except OSError as error:
            if not self._warned:
                log.warning("Cannot write the trace of the memory %s: %s. Training continues.", self.path, error.strerror or error)
            self._warned = True
