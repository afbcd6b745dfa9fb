"""What the settings of a training alone tell: rules between settings, and the ranges of numbers that no class of ours checks."""

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.methods.base import PRECISIONS, refuse_clipping
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Share, validated

log = logging.getLogger(__name__)

MAX_DEVICES = 1024
"""Devices of a machine, beyond all that there are: Lightning makes a list of so many before it says that they are not there."""
_EPOCH_SETTINGS: dict[str, tuple[Sequence[Any], str]] = {
    "max_epochs": ((None, -1), "set trainer.max_steps, the number of iterations"),
    "limit_train_batches": ((None,), "set trainer.max_steps, the number of iterations"),
    "check_val_every_n_epoch": ((None,), "set trainer.val_check_interval, the iterations between two source validations"),
}
"""Settings of Lightning's that cut training into epochs: the values that leave it in one piece, and what to set instead."""

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that no training can succeed with."""
    for group, check in _CHECKS.items():
        node = OmegaConf.select(cfg, group) if group else cfg
        if isinstance(node, DictConfig):
            check(**{key: node[key] for key in inspect.signature(check).parameters if key in node})
    for key, (unset, advice) in _EPOCH_SETTINGS.items():
        if (value := cfg.trainer.get(key)) not in unset:
            raise ConfigurationError(f"trainer.{key}={value}: training counts iterations, not epochs. Leave it out and {advice}.")
    refuse_clipping(cfg.trainer.get("gradient_clip_val"))
    _check_second_order(cfg)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        _check_sweep(cfg)


def check_crops(data: MultiSourceDataModule, method: Method) -> None:
    """Refuse training images of which the network would see a single cell."""
    stride = getattr(method.network.backbone, "output_stride", 1)
    for name, domain in data.sources.items():
        crop = getattr(domain.augmentation, "crop_size", None)
        if crop is not None and min(crop) < 2 * stride:
            raise ConfigurationError(
                f"augmentation.crop_size={list(crop)} of data.sources.{name}: the network sees one cell for {stride} pixels"
                f" (network.backbone.output_stride) and needs more. Take crops of at least {2 * stride} pixels, better some hundred."
            )


@validated("")
def _check_run(seed: Annotated[int, Field(ge=0)], selection: Literal["best", "last"], test: bool, floors: bool, dry_run: bool) -> None:
    """Settings at the top, which belong to no class."""


@validated("optimizer")
def _check_optimizer(lr: Positive = 1.0, momentum: Share = 0.0, weight_decay: NotNegative = 0.0) -> None:
    """The optimisers of PyTorch take a momentum above 1 and a learning rate of 0."""


@validated("method")
def _check_method(
    auxiliary_weight: NotNegative = 0.0, temperature: Positive = 1.0, inner_lr: Positive = 1.0, gradient_clip: Positive | None = None
) -> None:
    """Numbers that all methods, or those with a memory or an inner step, share."""


@validated("method.weights")
def _check_loss_weights(cohesion: NotNegative = 0.0, divergence: NotNegative = 0.0, classification: NotNegative = 0.0) -> None:
    """Weights of the memory's losses."""


@validated("initialisation")
def _check_initialisation(passes: Count = 1, batches: Count | None = None) -> None:
    """How much of the sources a new memory sees."""


@validated("network")
def _check_network(
    num_classes: Annotated[int, Field(ge=2)] = 2, channels: Count = 1, auxiliary_channels: Count = 1, dropout: Share = 0
) -> None:
    """Sizes of the heads."""


@validated("trainer")
def _check_trainer(
    max_steps: Annotated[int, Field(ge=-1)] = -1,
    val_check_interval: Count = 1,
    log_every_n_steps: Count = 1,
    accelerator: Any = "auto",
    devices: Any = "auto",
    num_nodes: Annotated[int, Field(ge=1, le=65_536)] = 1,
    precision: Any = PRECISIONS[0],
) -> None:
    """Iterations, devices that are there, and a precision that a method trains correctly in."""
    if max_steps == 0:
        raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
    if 0 < max_steps < val_check_interval:
        log.info(
            "No validation: trainer.val_check_interval=%d is above trainer.max_steps=%d. The last checkpoint is the one that is tested.",
            val_check_interval, max_steps,
        )  # fmt: skip
    if precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}.")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: PyTorch {torch.__version__} sees no GPU here. Set trainer.accelerator=cpu, or auto"
            " for a GPU where there is one; otherwise look at nvidia-smi and CUDA_VISIBLE_DEVICES."
        )
    if isinstance(devices, int) and devices > MAX_DEVICES:
        raise ConfigurationError(f"trainer.devices={devices}: expected at most {MAX_DEVICES}.")


_CHECKS: dict[str, Callable[..., None]] = {
    "": _check_run,
    "optimizer": _check_optimizer,
    "method": _check_method,
    "method.weights": _check_loss_weights,
    "initialisation": _check_initialisation,
    "network": _check_network,
    "trainer": _check_trainer,
}
"""The function that checks a group of settings; it is given those of its parameters that are set."""


def _check_second_order(cfg: DictConfig) -> None:
    """Refuse what has no double backward where a method differentiates twice."""
    if cfg.method.get("first_order", True):
        return
    found = []
    if OmegaConf.select(cfg, "network.compile"):
        found.append("torch.compile (network.compile=true)")
    if cfg.trainer.get("sync_batchnorm") is True:
        found.append("SyncBatchNorm (trainer.sync_batchnorm=true)")
    if found:
        raise ConfigurationError(
            f"method.first_order=false differentiates twice, which {' and '.join(found)} cannot: switch that off, or set"
            " method.first_order=true."
        )


def _check_sweep(cfg: DictConfig) -> None:
    """Refuse a job of a sweep that would not end with a score."""
    if cfg.dry_run:
        raise ConfigurationError("dry_run=true plans one run: leave out -m (--multirun), and give each setting one value.")
    steps, every = cfg.trainer.max_steps, cfg.trainer.val_check_interval
    if 0 < steps < every:
        raise ConfigurationError(
            f"A sweep compares source validations, and there would be none: trainer.val_check_interval={every} is above"
            f" trainer.max_steps={steps}. Set it to {steps} or less."
        )
