"""What can be told wrong from the settings of a training alone, before data are looked for or weights downloaded."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from pin_memory.methods.base import PRECISIONS, refuse_clipping
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

MAX_DEVICES, MAX_NODES = 1024, 65_536
"""Devices of a machine and machines of a run, beyond all that there are."""


class _Range(NamedTuple):
    """Numbers that a setting may have.

    Attributes:
        low: The least; itself excluded where `above` is set.
        high: The largest.
        above: Exclude `low`.
        whole: Whole numbers only.
        null: None is allowed, too.
    """

    low: float = 0
    high: float = math.inf
    above: bool = False
    whole: bool = False
    null: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a setting may have the value; text, truth values and what is not finite never."""
        if value is None:
            return self.null
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float) or not math.isfinite(value):
            return False
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        """Say it: "a number above 0"."""
        kind = "a whole number" if self.whole else "a number"
        bound = f"{'above' if self.above else 'of at least'} {self.low}" if self.high == math.inf else f"within {self.low}..{self.high}"
        return f"{kind} {bound}{', or null' if self.null else ''}"


_POSITIVE, _NOT_NEGATIVE, _SHARE, _NUMBER = _Range(above=True), _Range(), _Range(high=1), _Range(1, whole=True)
_RANGES: Mapping[str, _Range] = {
    "optimizer.lr": _POSITIVE,
    "optimizer.momentum": _SHARE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "method.auxiliary_weight": _NOT_NEGATIVE,
    "method.weights.cohesion": _NOT_NEGATIVE,
    "method.weights.divergence": _NOT_NEGATIVE,
    "method.weights.classification": _NOT_NEGATIVE,
    "method.whitening.weight": _NOT_NEGATIVE,
    "method.temperature": _POSITIVE,
    "method.inner_lr": _POSITIVE,
    "method.gradient_clip": _Range(above=True, null=True),
    "network.num_classes": _Range(2, whole=True),
    "network.channels": _NUMBER,
    "network.auxiliary_channels": _NUMBER,
    "network.dropout": _SHARE,
    "network.memory.momentum": _SHARE,
    "network.memory.read_temperature": _POSITIVE,
    "initialisation.passes": _NUMBER,
    "initialisation.batches": _Range(1, whole=True, null=True),
    "test_statistics.share": _SHARE,
    "loading.batch_size": _NUMBER,
    "trainer.max_steps": _Range(-1, whole=True),
    "trainer.log_every_n_steps": _NUMBER,
    "trainer.num_nodes": _NUMBER,
}
_EPOCH_SETTINGS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "max_epochs": ((None, -1), "set trainer.max_steps, the number of iterations"),
    "limit_train_batches": ((None,), "set trainer.max_steps, the number of iterations"),
    "check_val_every_n_epoch": ((None,), "set trainer.val_check_interval, the iterations between two source validations"),
}
"""Settings of Lightning's that cut training into epochs: the values that leave it in one piece, and what to set instead."""
_SIDES = ("sources", "targets", "domains")


def check_settings(cfg: DictConfig) -> None:
    """Refuse settings that no training can go well with.

    Args:
        cfg: The composed configuration of `train`.

    Raises:
        ConfigurationError: A number that is none or out of its range, or settings that exclude one another.
    """
    if isinstance(cfg.seed, bool) or not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigurationError(f"seed={cfg.seed}: expected a whole number of at least 0.")
    if cfg.selection not in ("best", "last"):
        raise ConfigurationError(f"selection={cfg.selection}: expected best (by source validation) or last.")
    if not isinstance(cfg.dry_run, bool):
        raise ConfigurationError(f"dry_run={cfg.dry_run}: expected true or false.")
    for key, allowed in _RANGES.items():
        if (parent := OmegaConf.select(cfg, key.rpartition(".")[0])) is None or key.rpartition(".")[2] not in parent:
            continue  # of another method, network or optimiser
        value = OmegaConf.select(cfg, key)
        if not allowed.allows(value):
            raise ConfigurationError(f"{key}={'null' if value is None else value}: expected {allowed}.")
    _check_trainer(cfg.trainer)
    _check_images(cfg)
    _check_second_order(cfg)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        _check_sweep(cfg)


def _check_trainer(trainer: DictConfig) -> None:
    """Length, precision, device and clipping."""
    if trainer.precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={trainer.precision}: expected one of {', '.join(PRECISIONS)}.")
    if trainer.max_steps == 0:
        raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
    for key, (unset, advice) in _EPOCH_SETTINGS.items():
        if (value := trainer.get(key)) not in unset:
            raise ConfigurationError(f"trainer.{key}={value}: training counts iterations, not epochs. Leave it out and {advice}.")
    every = trainer.val_check_interval
    if not _NUMBER.allows(every):
        raise ConfigurationError(
            f"trainer.val_check_interval={'null' if every is None else every}: expected a whole number of at least 1, the iterations"
            " between two source validations."
        )
    if 0 < trainer.max_steps < every:
        log.info(
            "No validation: trainer.val_check_interval=%d is above trainer.max_steps=%d. The last checkpoint is the one that is tested.",
            every, trainer.max_steps,
        )  # fmt: skip
    if trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"trainer.accelerator={trainer.accelerator}: PyTorch {torch.__version__} sees no GPU here. Say trainer.accelerator=cpu, or auto"
            " for a GPU where there is one; otherwise look at nvidia-smi and CUDA_VISIBLE_DEVICES."
        )
    for key, most in (("devices", MAX_DEVICES), ("num_nodes", MAX_NODES)):
        value = trainer.get(key)  # Lightning makes a list of so many before it says that they are not there
        if isinstance(value, int) and value > most:
            raise ConfigurationError(f"trainer.{key}={value}: expected at most {most}.")
    refuse_clipping(trainer.get("gradient_clip_val"))


def _check_sweep(cfg: DictConfig) -> None:
    """A job of a sweep has to be a training that ends with a score."""
    if cfg.dry_run:
        raise ConfigurationError("dry_run=true plans one run: leave out -m (--multirun), and give each setting one value.")
    steps, every = cfg.trainer.max_steps, cfg.trainer.val_check_interval
    if 0 < steps < every:
        raise ConfigurationError(
            f"A sweep compares source validations, and there would be none: trainer.val_check_interval={every} is above"
            f" trainer.max_steps={steps}. Set it to {steps} or less."
        )


def _check_images(cfg: DictConfig) -> None:
    """Batches that batch normalisation can take, and crops that leave the network something."""
    if cfg.loading.batch_size < 2:
        raise ConfigurationError(
            f"loading.batch_size={cfg.loading.batch_size}: batch normalisation after image pooling needs at least 2 images per domain in"
            " training. Say loading.batch_size=2 or more."
        )
    if _NUMBER.allows(draws := cfg.loading.draws_per_epoch) and draws < cfg.loading.batch_size:
        raise ConfigurationError(
            f"loading.draws_per_epoch={draws} do not fill a batch of {cfg.loading.batch_size}: raise loading.draws_per_epoch or lower"
            " loading.batch_size."
        )
    stride = OmegaConf.select(cfg, "network.backbone.output_stride") or 1
    for place, size in _crops(cfg):
        sides = list(size) if isinstance(size, Sequence | ListConfig) and not isinstance(size, str) else [size]
        if len(sides) > 2 or not sides or not all(_NUMBER.allows(side) for side in sides):
            raise ConfigurationError(f"{place}.crop_size={size}: expected the side of the crop in pixels, or [height, width].")
        if isinstance(stride, int) and min(sides) < 2 * stride:
            raise ConfigurationError(
                f"{place}.crop_size={size}: the network sees one cell for {stride} pixels (network.backbone.output_stride), and needs more"
                f" than one. Take crops of at least {2 * stride} pixels, better of some hundred."
            )


def _crops(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Place and value of every crop size of a training image."""
    places = ["augmentation", "data.meta_test_augmentation"]
    places += [f"data.{side}.{name}.augmentation" for side in _SIDES for name in (cfg.data.get(side) or {})]
    for place in places:
        try:
            node = OmegaConf.select(cfg, place)
        except TypeError:  # a domain that is no mapping, which the data module tells better
            continue
        if isinstance(node, DictConfig) and "crop_size" in node:
            yield place, node.crop_size


def _check_second_order(cfg: DictConfig) -> None:
    """What has no double backward."""
    if cfg.method.get("first_order", True):
        return
    found = []
    if OmegaConf.select(cfg, "network.compile"):
        found.append("torch.compile (network.compile=true)")
    if cfg.trainer.get("sync_batchnorm") is True:
        found.append("SyncBatchNorm (trainer.sync_batchnorm=true)")
    if found:
        raise ConfigurationError(
            f"method.first_order=false differentiates twice, which {' and '.join(found)} cannot: switch that off, or say"
            " method.first_order=true."
        )
