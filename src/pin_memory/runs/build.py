"""From configuration to objects."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import hydra.utils
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError

T = TypeVar("T")
TEXT = "pin_memory.memory.TextPrototypes"
"""Target of the settings that name a file with text embeddings."""


def build_data(cfg: DictConfig) -> MultiSourceDataModule:
    """The data module of `cfg.data`; nothing is read yet."""
    data = hydra.utils.instantiate(cfg.data)
    assert isinstance(data, MultiSourceDataModule)
    return data


def prepare_stand_ins(data: MultiSourceDataModule, path: Path, output: str | Path) -> None:
    """Draw the stand-ins of a checkpoint's run if they are missing; only below the folder of runs, never where the checkpoint chooses."""
    if data.stand_in is None or data.stand_in.is_there():
        return
    root = data.stand_in.root
    if not root.resolve().is_relative_to(Path(output).resolve()):
        raise ConfigurationError(
            f"{path} asks for stand-ins to be drawn into {root}, which is not below the folder of runs ({output}); a checkpoint does not"
            " choose where files are written. Set paths.data=DIR to where they are, or draw them: pin-memory stand_in root=DIR"
        )
    data.prepare_data()


def build_method(cfg: DictConfig) -> Method:
    """The method of `cfg.method` with its network, optimiser and schedule."""
    method = hydra.utils.instantiate(cfg.method)
    assert isinstance(method, Method)
    if not isinstance(method.network, torch.nn.Module):
        raise ConfigurationError(f"method.network={method.network!r}: expected a network; leave it out and set network=NAME.")
    return method


def build_untrained(cfg: DictConfig, pretrained: str | None = None) -> Method:
    """The method of a checkpoint's settings without the weights that its network began with, but for a backbone's `pretrained` ones."""
    bare = plain(cfg)
    without_downloads(bare)
    if pretrained is not None:
        bare["network"]["backbone"]["pretrained"] = pretrained
    return build_method(DictConfig(bare))


def build_without_weights(cfg: DictConfig) -> Method:
    """The method with shapes but no numbers (PyTorch's meta device), to be checked: nothing is downloaded, no random number is drawn.

    A network of a user's own, which may not stand that, is built as it is.
    """
    targets = [OmegaConf.select(cfg, f"network.{part}") for part in ("_target_", "backbone._target_")]
    if not all(str(target).startswith("pin_memory.") for target in targets):
        with torch.random.fork_rng(devices=[]):
            return build_method(cfg)
    bare = cfg.copy()
    OmegaConf.update(bare, "network.backbone.pretrained", None, force_add=True)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build_method(bare)


def rebuilt(build: Callable[[], T], path: Path) -> T:
    """What is built from the settings in a file; the error says that the file is the reason."""
    try:
        return build()
    except (HydraException, OmegaConfBaseException) as error:  # Hydra puts whatever a target raises into an exception of its own
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ConfigurationError(f"{path}: the network and method cannot be built from the settings in this file ({reason}).") from error


def without_downloads(config: Any) -> None:
    """Forget in plain settings, in place, which weights and text a network began with, so that rebuilding it reads no other file."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if key == "pretrained":
            config[key] = None
        elif isinstance(value, dict) and value.get("_target_") == TEXT:
            value["rows"] = "checkpoint"
        elif isinstance(value, dict | list):
            without_downloads(value)


def quiet_lightning() -> None:
    """Silence Lightning's advertising and the warnings that do not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",
        ".*LeafSpec.*",
        ".*exists and is not empty.*",
        ".*in eval mode at the start of training.*",  # frozen parts
        ".*your dataloader is not resumable.*",  # its draws follow from the iteration
        ".*sync_dist=True.*",  # the scores come from confusion matrices that are summed over the ranks
    ):
        warnings.filterwarnings("ignore", message)
