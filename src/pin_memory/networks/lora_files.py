"""Adapters in peft's format: a folder with `adapter_config.json` and `adapter_model.safetensors`."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pin_memory.utils.errors import ConfigurationError, first_names
from pin_memory.utils.safe_load import read_json

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
"""The files of a folder."""
_PREFIX = "base_model.model."  # what peft's wrapper puts before the names of the network
_PARTS = ("lora_A.weight", "lora_B.weight")
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal"),  # others change the weights of the network, too
}
"""Settings of peft whose other values stand for something else than `W x + alpha / r * B A x`."""


def adapter_config(layers: list[str], rank: int, alpha: float, dropout: float, base: str) -> str:
    """The content of `adapter_config.json` for layers by their names in a network called `base`."""
    numbers = {"r": rank, "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha, "lora_dropout": dropout}
    kind = {"peft_type": "LORA", "task_type": None, "base_model_name_or_path": base, "bias": "none", "inference_mode": True}
    return json.dumps(kind | numbers | {"target_modules": layers, "init_lora_weights": True}, indent=2) + "\n"


def adapter_tensors(trunk: nn.Module) -> dict[str, Tensor]:
    """A and B of all layers of a network by peft's names."""
    return {_PREFIX + name: tensor.contiguous() for name, tensor in trunk.state_dict().items() if name.endswith(_PARTS)}


@torch.no_grad()
def read_adapter(folder: str, trunk: nn.Module, rank: int, alpha: float) -> None:
    """Fill A and B of all layers of a network from a folder.

    Raises:
        ConfigurationError: The folder cannot be read, holds something else than plain LoRA, or its rank, alpha or layers are others.
    """
    path = Path(folder).expanduser()
    try:
        settings, tensors = read_json(path / CONFIG), load_file(path / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigurationError(
            f"network.adapter.pretrained={folder}: expected a folder with {CONFIG} and {TENSORS} as peft writes them ({error})."
        ) from error
    _check_settings(folder, settings, rank, alpha)
    found = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in trunk.state_dict().items() if name.endswith(_PARTS)}
    theirs, ours = ({name.rpartition(".lora_")[0] for name in names} for names in (found, own))
    if found.keys() != own.keys():
        raise ConfigurationError(
            f"network.adapter.pretrained={folder} adapts {len(theirs)} layers ({first_names(sorted(theirs))}), the settings {len(ours)}"
            f" ({first_names(sorted(ours))}). Set network.adapter.targets and network.adapter.blocks as the adapter was trained."
        )
    if others := [name for name in own if found[name].shape != own[name].shape]:
        name = others[0]
        raise ConfigurationError(
            f"network.adapter.pretrained={folder}: {name} is {tuple(found[name].shape)}, expected {tuple(own[name].shape)}. It is of"
            " another network or another rank."
        )
    if odd := [name for name in own if not found[name].isfinite().all()]:
        raise ConfigurationError(f"network.adapter.pretrained={folder} holds NaN or infinite numbers: {first_names(odd)}.")
    for name, tensor in own.items():
        tensor.copy_(found[name])


def _check_settings(folder: str, settings: Any, rank: int, alpha: float) -> None:
    """Refuse what is not plain LoRA of this rank and alpha."""
    if not isinstance(settings, dict):
        raise ConfigurationError(f"network.adapter.pretrained={folder}: {CONFIG} holds no settings.")
    for key, plain in _PLAIN.items():
        if settings.get(key, plain[0]) not in plain:
            raise ConfigurationError(
                f"network.adapter.pretrained={folder}: {key}={settings[key]} in {CONFIG}; plain LoRA can be read ({key}={plain[0]})."
            )
    if (settings.get("r"), settings.get("lora_alpha")) != (rank, alpha):
        raise ConfigurationError(
            f"network.adapter.pretrained={folder} has rank {settings.get('r')} and alpha {settings.get('lora_alpha')}, the settings"
            f" {rank} and {alpha:g}. Set network.adapter.rank={settings.get('r')} network.adapter.alpha={settings.get('lora_alpha')}."
        )
