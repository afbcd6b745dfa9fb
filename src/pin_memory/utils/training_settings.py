"""Settings of a training that no training succeeds with, whatever its data and its network; looked at before torch is imported."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, NotNegative, Positive, Share, check_values

PRECISIONS = ("32-true", "64-true", "bf16-mixed")
"""What a method trains correctly in; float16 needs loss scaling, which the gradients of two steps would have to undo."""
MAX_DEVICES = 1024
"""Devices of a machine, beyond all that there are: Lightning makes a list of so many before it says that they are not there."""
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


def refuse_wrong_settings(cfg: DictConfig) -> None:
    """Refuse values out of their range, and settings that contradict each other."""
    for group, rules in _RULES.items():
        node = OmegaConf.select(cfg, group) if group else cfg
        if isinstance(node, DictConfig):
            check_values(group, rules, {key: node[key] for key in rules if key in node})
    _refuse_of_trainer(cfg.trainer)
    if cfg.get("text") and "${text}" not in str(plain(cfg)):
        raise ConfigurationError(
            "text=file: nothing reads it. Add +alignment=text or +memory_start=procrustes (text, blend), or leave it out."
        )
    _refuse_without_double_backward(cfg)
    after, steps = cfg.method.get("freeze_statistics_after"), cfg.trainer.get("max_steps", -1)
    if isinstance(after, int) and isinstance(steps, int) and 0 < steps <= after:
        raise ConfigurationError(
            f"method.freeze_statistics_after={after}: training ends before, trainer.max_steps={steps}. Lower it, or leave it out."
        )


def _refuse_without_double_backward(cfg: DictConfig) -> None:
    """Refuse second derivatives through what has none."""
    if cfg.method.get("first_order", True):
        return
    without = {
        "torch.compile (network.compile=true)": OmegaConf.select(cfg, "network.compile"),
        "SyncBatchNorm (trainer.sync_batchnorm=true)": cfg.trainer.get("sync_batchnorm") is True,
        "fused attention (network.backbone.fused_attention=true)": OmegaConf.select(cfg, "network.backbone.fused_attention"),
    }
    if found := " and ".join(name for name, is_set in without.items() if is_set):
        raise ConfigurationError(
            f"method.first_order=false differentiates twice, which {found} cannot: switch that off, or set method.first_order=true."
        )


def _refuse_of_trainer(trainer: DictConfig) -> None:
    """Refuse epochs, which there are none of, clipping that has no effect, and precisions that a method does not train correctly in."""
    for key, (unset, advice) in _EPOCH_SETTINGS.items():
        if (value := trainer.get(key)) not in unset:
            raise ConfigurationError(f"trainer.{key}={value}: training counts iterations, not epochs. Leave it out and {advice}.")
    refuse_clipping(trainer.get("gradient_clip_val"))
    devices, precision = trainer.get("devices"), trainer.get("precision", PRECISIONS[0])
    if trainer.get("max_steps") == 0:
        raise ConfigurationError("trainer.max_steps=0 trains nothing: give a number of iterations, or -1 to train until it is stopped.")
    if precision not in PRECISIONS:
        raise ConfigurationError(f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}.")
    if isinstance(devices, int) and devices > MAX_DEVICES:
        raise ConfigurationError(f"trainer.devices={devices}: expected at most {MAX_DEVICES}.")


def refuse_clipping(value: float | None) -> None:
    """Refuse Lightning's own gradient clipping (`trainer.gradient_clip_val`), which has no effect on a method."""
    if value is not None:
        raise ConfigurationError(
            f"trainer.gradient_clip_val={value} is for optimisers that Lightning steps; a method steps its own. Leave it out and set"
            f" method.gradient_clip={value}, the largest norm of the total gradient."
        )
