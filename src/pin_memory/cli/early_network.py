"""Names and files of a training's network, looked at before torch is imported."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pin_memory.cli.early_data import is_ours
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.text_files import text_file
from pin_memory.utils.timm_names import no_such_network, timm_names

_KNOWN_WEIGHTS = ("imagenet", "timm", "packaged")  # other values are files
_RANDOM = "Train from random weights on purpose with network.backbone.pretrained=null."
_OF_TIMM = ("pin_memory.networks.TimmBackbone", "pin_memory.networks.VitBackbone")
_OWN_CLASS = re.compile(r"_target_: (?!(pin_memory|torch|lightning|hydra_plugins|optuna)\.)")


def refuse_unknown_network(cfg: DictConfig) -> None:
    """Refuse a network that timm does not have, and files of weights and of text that are not there."""
    backbone = OmegaConf.select(cfg, "network.backbone")
    if is_ours(cfg, "network.backbone"):
        _refuse_missing_weights(backbone.get("pretrained"))
        if backbone["_target_"] in _OF_TIMM:
            _refuse_unknown_name(cfg, str(backbone.get("name")))
    if (text := cfg.get("text")) and text.get("rows") in ("file", "shuffled"):
        text_file(text.get("path"))


def _refuse_missing_weights(given: object) -> None:
    """Refuse weights that are neither known by name nor a file that is there."""
    if isinstance(given, str) and given not in _KNOWN_WEIGHTS and not (file := Path(given).expanduser()).exists():
        raise ConfigurationError(
            f"network.backbone.pretrained={file}: no such file (looked for {file.absolute()}), and none of the names"
            f" {', '.join(_KNOWN_WEIGHTS)}. {_RANDOM}"
        )


def _refuse_unknown_name(cfg: DictConfig, name: str) -> None:
    """Refuse a name without its tag; a class of the user's may be in a module that registers further networks."""
    known = timm_names()
    if known and name.partition(".")[0] not in known and not _OWN_CLASS.search(OmegaConf.to_yaml(cfg)):
        raise no_such_network(name, known)
