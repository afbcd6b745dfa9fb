"""Checks of a training's settings on this machine, and against what has been built from them."""

import logging
from tempfile import TemporaryDirectory

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from pin_memory.domains import EpisodeDataModule, MultiSourceDataModule
from pin_memory.loggers import MODES, wandb_mode
from pin_memory.methods import MetaSegNet, Method
from pin_memory.utils.devices import computes_bfloat16
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.training_settings import refuse_wrong_settings

log = logging.getLogger(__name__)

_WANDB = "pin_memory.loggers.wandb_logger"


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that no training can succeed with."""
    refuse_wrong_settings(cfg)
    _check_trainer(cfg.trainer)
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
    """Devices that are there; and what is said of a training that is sound, but slow or without validation."""
    steps, every, accelerator = trainer.get("max_steps", -1), trainer.get("val_check_interval", 1), trainer.get("accelerator")
    if 0 < steps < every:
        log.info(
            "No validation: trainer.val_check_interval=%d is above trainer.max_steps=%d. The last checkpoint is the one that is tested.",
            every, steps,
        )  # fmt: skip
    if slow := slow_precision(trainer):
        log.warning("%s", slow)
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: PyTorch {torch.__version__} sees no GPU here. Set trainer.accelerator=cpu, or auto"
            " for a GPU where there is one; otherwise look at nvidia-smi and CUDA_VISIBLE_DEVICES."
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
