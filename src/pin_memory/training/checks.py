"""What the settings of a training alone show: rules between them, and the ranges of what no class of ours takes."""

import logging
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import Field

from pin_memory.domains import EpisodeDataModule, MultiSourceDataModule
from pin_memory.loggers import MODES, wandb_mode
from pin_memory.methods import MetaSegNet, Method
from pin_memory.methods.trainer_checks import PRECISIONS, refuse_clipping
from pin_memory.utils.config import plain
from pin_memory.utils.devices import computes_bfloat16
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, NotNegative, Positive, Share, check_values

log = logging.getLogger(__name__)

MAX_DEVICES = 1024
"""Devices of a machine, beyond all that there are: Lightning makes a list of so many before it says that they are not there."""
_WANDB = "pin_memory.loggers.wandb_logger"
_EPOCH_SETTINGS: dict[str, tuple[Sequence[Any], str]] = {
    "max_epochs": ((None, -1), "set trainer.max_steps, the number of iterations"),
    "limit_train_batches": ((None,), "set trainer.max_steps, the number of iterations"),
    "check_val_every_n_epoch": ((None,), "set trainer.val_check_interval, the iterations between two source validations"),
}
"""Settings of Lightning's that cut training into epochs: the values that leave it in one piece, and what to set instead."""

_RULES: dict[str, dict[str, Any]] = {
    "": {
        "seed": Annotated[int, Field(ge=0, lt=2**32)],
        "selection": Literal["best", "last"],
        "test": bool,
        "floors": bool,
        "dry_run": bool,
    },
    "optimizer": {"lr": Positive, "momentum": Share, "weight_decay": NotNegative},  # PyTorch takes a momentum above 1 and a rate of 0
    "initialisation": {"passes": Count, "batches": Count | None},
    "trainer": {
        "max_steps": Annotated[int, Field(ge=-1)],
        "val_check_interval": Count,
        "log_every_n_steps": Count,
        "num_nodes": Annotated[int, Field(ge=1, le=65_536)],
    },
}
"""The rule of each setting by its group."""


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that no training can succeed with."""
    for group, rules in _RULES.items():
        node = OmegaConf.select(cfg, group) if group else cfg
        if isinstance(node, DictConfig):
            check_values(group, rules, {key: node[key] for key in rules if key in node})
    _check_trainer(cfg.trainer)
    if cfg.get("text") and "${text}" not in str(plain(cfg)):
        raise ConfigurationError(
            "text=file: nothing reads it. Add +alignment=text or +memory_start=procrustes (text, blend), or leave it out."
        )
    if not cfg.method.get("first_order", True):
        without_double_backward = {
            "torch.compile (network.compile=true)": OmegaConf.select(cfg, "network.compile"),
            "SyncBatchNorm (trainer.sync_batchnorm=true)": cfg.trainer.get("sync_batchnorm") is True,
            "fused attention (network.backbone.fused_attention=true)": OmegaConf.select(cfg, "network.backbone.fused_attention"),
        }
        if found := " and ".join(name for name, is_set in without_double_backward.items() if is_set):
            raise ConfigurationError(
                f"method.first_order=false differentiates twice, which {found} cannot: switch that off, or set method.first_order=true."
            )
    after, steps = cfg.method.get("freeze_statistics_after"), cfg.trainer.get("max_steps", -1)
    if isinstance(after, int) and isinstance(steps, int) and 0 < steps <= after:
        raise ConfigurationError(
            f"method.freeze_statistics_after={after}: training ends before, trainer.max_steps={steps}. Lower it, or leave it out."
        )
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        _check_sweep(cfg)


def check_loggers(cfg: DictConfig) -> None:
    """Build our loggers once for nothing, in a folder that goes again and without a run of W&B: their mistakes are to be found early.

    Of loggers of the user's the class alone is looked for: some begin a run as soon as they are made.
    """
    with TemporaryDirectory(prefix="pin_memory-") as folder, open_dict(trial := cfg.copy()):
        trial.paths.run = folder
        for node in (node for node in trial.logger.values() if node):
            if not str(node.get("_target_")).startswith("pin_memory."):
                node._partial_ = True
            if node.get("_target_") == _WANDB:
                if node.get("mode", "auto") not in MODES:
                    wandb_mode(node.mode)  # which refuses it
                node.mode = "disabled"
        logging.disable(logging.INFO)  # else W&B would be said to be off
        try:
            instantiate(trial.logger)
        finally:
            logging.disable(logging.NOTSET)


def slow_precision(trainer: DictConfig) -> str | None:
    """What is said of a precision that this machine has no arithmetic for; None where it has."""
    on_cpu = trainer.get("accelerator") == "cpu" or (trainer.get("accelerator") == "auto" and not torch.accelerator.is_available())
    if trainer.get("precision") != "bf16-mixed" or not on_cpu or computes_bfloat16():
        return None
    return (
        "trainer.precision=bf16-mixed: this processor has no bfloat16 arithmetic (AVX512_BF16 or AMX) and emulates it; an iteration takes"
        " about twelve times as long as with trainer.precision=32-true."
    )


def check_kind(data: MultiSourceDataModule, method: Method, floors: bool) -> None:
    """Refuse episodes for a method that has no use for them, what is no episodes for the one that has, and floors of episodes."""
    episodes = isinstance(data, EpisodeDataModule)
    if episodes != isinstance(method, MetaSegNet):
        found = "data=episodes" if episodes else f"{type(data).__name__}, which gives no episodes"
        raise ConfigurationError(f"method={method.name} with {found}: data=episodes and method=meta_seg_net go with each other alone.")
    if episodes and floors:
        raise ConfigurationError("floors=true: few-shot segmentation has no floors. Leave it out, and compare with head=prototype.")


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


def _check_trainer(trainer: DictConfig) -> None:
    """Iterations in place of epochs, devices that are there, and a precision that a method trains correctly in."""
    for key, (unset, advice) in _EPOCH_SETTINGS.items():
        if (value := trainer.get(key)) not in unset:
            raise ConfigurationError(f"trainer.{key}={value}: training counts iterations, not epochs. Leave it out and {advice}.")
    refuse_clipping(trainer.get("gradient_clip_val"))
    steps, every, precision = trainer.get("max_steps", -1), trainer.get("val_check_interval", 1), trainer.get("precision", PRECISIONS[0])
    accelerator, devices = trainer.get("accelerator"), trainer.get("devices")
    if steps == 0:
        raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
    if 0 < steps < every:
        log.info(
            "No validation: trainer.val_check_interval=%d is above trainer.max_steps=%d. The last checkpoint is the one that is tested.",
            every, steps,
        )  # fmt: skip
    if precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}.")
    if slow := slow_precision(trainer):
        log.warning("%s", slow)
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: PyTorch {torch.__version__} sees no GPU here. Set trainer.accelerator=cpu, or auto"
            " for a GPU where there is one; otherwise look at nvidia-smi and CUDA_VISIBLE_DEVICES."
        )
    if isinstance(devices, int) and devices > MAX_DEVICES:
        raise ConfigurationError(f"trainer.devices={devices}: expected at most {MAX_DEVICES}.")


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
