"""Checkpoints without the weights of a frozen backbone, whose file can be read again."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from pin_memory.networks.freezing import Backbone

BASE = "frozen_base"
"""Key of a checkpoint that leaves these weights out; holds the fields of a `FrozenBase`."""


class FrozenBase(NamedTuple):
    """The file that the weights of a frozen backbone were read from: its name, its SHA-256, and whether a package ships it."""

    file: str
    sha256: str
    packaged: bool


def constants(network: nn.Module, prefix: str = "network.") -> list[str]:
    """Names, behind a prefix, of the tensors that training leaves as they are: those of a frozen backbone without its adapter."""
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, Backbone) or not backbone.is_frozen:
        return []
    learned = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    return [f"{prefix}backbone.{name}" for name in backbone.state_dict() if name not in learned]


def without_constants(checkpoint: dict[str, Any], network: nn.Module, base: FrozenBase) -> None:
    """Leave the constants of a checkpoint out, in place, and say which file has them."""
    left_out = {*constants(network)}
    checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name not in left_out}
    checkpoint[BASE] = base._asdict()


def completed(state: Mapping[str, Any], own: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """A state dict with the network's own constants where it leaves all of them out."""
    names = constants(network)
    return dict(state) if any(name in state for name in names) else {**state, **{name: own[name] for name in names}}


def replaces_constants(state: Mapping[str, Any], own: Mapping[str, Any], network: nn.Module) -> bool:
    """Whether a state dict has other constants than the network, so that they are not those of its file any more."""
    return any(name in state and not torch.equal(state[name].to(own[name]), own[name]) for name in constants(network))
