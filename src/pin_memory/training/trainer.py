"""Lightning's Trainer for a training."""

from collections.abc import Sequence

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from pin_memory.utils.checkpoint_io import AtomicCheckpointIO
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.sync_batch_norm import SyncBatchNorm


def build_trainer(cfg: DictConfig, callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> Trainer:
    """Lightning's Trainer with checkpoints that are complete or absent; several devices are refused in a sweep."""
    settings = cfg.trainer.copy()
    if settings.get("sync_batchnorm") == "auto":  # PyTorch has it for GPUs alone; a single device needs none
        several = settings.get("devices") not in (1, "1", [0]) or settings.get("num_nodes", 1) > 1
        settings.sync_batchnorm = several and torch.cuda.is_available() and settings.accelerator in ("auto", "gpu", "cuda")
    plugins = [AtomicCheckpointIO(), *([SyncBatchNorm()] if settings.get("sync_batchnorm") else [])]
    try:
        trainer: Trainer = hydra.utils.instantiate(
            settings, callbacks=list(callbacks), logger=list(loggers), plugins=plugins, _convert_="partial"
        )
    except InstantiationException as error:
        if not isinstance(error.__cause__, TypeError | ValueError | RuntimeError):
            raise
        raise ConfigurationError(f"The Trainer refuses its settings: {error.__cause__}") from error
    if trainer.world_size > 1 and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigurationError(
            f"A sweep trains on one device, found {trainer.world_size}: the processes of the other devices would start the sweep anew."
            " Give each job one device (trainer=default), or start the runs one by one."
        )
    return trainer
