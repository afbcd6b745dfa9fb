"""Settings from a file that may be a stranger's: made plain, so that what is checked is what is built, and naming trusted classes only."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import hydra.utils
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar_parser import parse

from pin_memory.domains import MultiSourceDataModule
from pin_memory.utils.documents import TooLargeError, walk
from pin_memory.utils.errors import ConfigurationError

_ROOMS = tuple(f"pin_memory.{room}." for room in ("methods", "memory", "networks", "domains", "inference"))
_FUNCTIONS = (MultiSourceDataModule.leave_one_out,)
"""What the shipped configuration calls besides classes."""
SAFE_RESOLVERS = ("oc.env", "oc.select", "oc.dict.keys", "oc.dict.values")
"""Resolvers that settings from a file may call; oc.create and oc.decode make settings out of text."""
_NAME = re.compile(r"[^\W\d_]\w*(\.[^\W\d_]\w*)+")  # no part begins with an underscore
_DATA = "${paths.data}"


def checked_settings(config: Mapping[Any, Any], keys: Sequence[str], path: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Settings without interpolations, which name only what is trusted.

    All is resolved before it is checked, and what is returned cannot be resolved to anything else later. `${paths.data}` alone stays, as it
    may be given anew; whatever it is, no class depends on it.

    Args:
        config: All settings in the file; what is not among `keys` can only be referred to.
        keys: Those that are built.
        path: The file, for the message.
        trust: As in `check_targets`.

    Returns:
        Plain containers by key.

    Raises:
        ConfigurationError: They are damaged, call a resolver, or name something that is not trusted.
    """
    data, token = _data_folder(config), uuid4().hex
    if named := sorted({name for text in _texts(config) for name in resolvers(text)} - set(SAFE_RESOLVERS)):
        raise ConfigurationError(
            f"{path}: the settings in this file call ${{{named[0]}:...}}; expected references to other settings, or"
            f" {', '.join(SAFE_RESOLVERS)}."
        )
    try:
        settings = OmegaConf.create(dict(config))
        if data is not None:
            OmegaConf.update(settings, "paths.data", token)
        walk(settings, lambda node: _resolved_parts(node, keys if node is settings else None))
        plain = {key: OmegaConf.to_container(settings[key], resolve=True) for key in keys}
    except (OmegaConfBaseException, TooLargeError, ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: the settings in this file are damaged ({type(error).__name__}: {error}).") from error
    if any("${" in text for text in (*_texts(plain), data or "")):
        raise ConfigurationError(f"{path}: the settings in this file hold ${{ where it is no reference; expected plain values.")
    plain = _replaced(plain, token, _DATA)
    check_targets(plain, path, trust)
    return plain


def check_targets(config: Any, path: Path, trust: Sequence[str] = ()) -> None:
    """Let settings name only what is trusted: classes of this library, and the optimisers of PyTorch.

    Args:
        config: Plain containers without interpolations.
        path: The file that they come from, for the message.
        trust: Packages besides.

    Raises:
        ConfigurationError: They name something else.
    """
    if isinstance(config, dict) and "_target_" in config and not is_trusted(config["_target_"], trust):
        raise ConfigurationError(f"{path} names {config['_target_']}, which loading it would call. {way_out(config['_target_'])}")
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        check_targets(value, path, trust)


def way_out(target: Any) -> str:
    """What to do about a name that is not trusted, for a message."""
    return (
        f"If the file is from somebody you trust, say trust=[{str(target).partition('.')[0]}]"
        " (a package that can be imported here; of this library and torch.optim classes alone are called)."
    )


def is_trusted(target: Any, trust: Sequence[str] = ()) -> bool:
    """Whether a name is that of something that settings from a file may call.

    It goes by where the object is defined, too: a module of ours has `torch.save` among its attributes. Functions of this library are not
    called, but for those of the shipped configuration: some read further files, or write.

    Args:
        target: The name.
        trust: Packages besides this library and torch.optim.
    """
    given = tuple(f"{package.rstrip('.')}." for package in trust)
    if not isinstance(target, str) or not _NAME.fullmatch(target) or not target.startswith((*_ROOMS, "torch.optim.", *given)):
        return False
    try:
        found = hydra.utils.get_object(target)
        home = f"{getattr(found, '__module__', None)}."
    except Exception:  # there is no such thing, or its module cannot be imported
        return False
    if home.startswith("pin_memory."):
        return found in _FUNCTIONS or (inspect.isclass(found) and home.startswith((*_ROOMS, *given)))
    if home.startswith(given):
        return True
    kinds = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    return inspect.isclass(found) and home.startswith("torch.optim.") and issubclass(found, kinds)


def resolvers(text: str) -> list[str]:
    """The resolvers that interpolations in a text call: `oc.env` of `${oc.env:HOME}`.

    A name put together by interpolation is returned as it stands; a text that is none of OmegaConf's grammar calls nothing.
    """
    if "${" not in text:
        return []
    try:
        nodes = [parse(text)]
    except GrammarParseError:
        return []
    found = []
    while nodes:
        node = nodes.pop()
        if type(node).__name__ == "InterpolationResolverContext":
            found.append(node.resolverName().getText())
        nodes += getattr(node, "children", None) or []
    return found


def _data_folder(config: Mapping[Any, Any]) -> str | None:
    """The data folder in settings; None without."""
    paths = config.get("paths")
    data = paths.get("data") if isinstance(paths, dict) else None
    return data if isinstance(data, str) else None


def _resolved_parts(node: Any, keys: Sequence[str] | None = None) -> list[Any]:
    """What an OmegaConf container holds, references followed."""
    if isinstance(node, DictConfig):
        return [node[key] for key in keys or node if not OmegaConf.is_missing(node, key)]
    if isinstance(node, ListConfig):
        return [node[index] for index in range(len(node)) if not OmegaConf.is_missing(node, index)]
    return []


def _texts(config: Any) -> Iterator[str]:
    """All texts in plain containers, keys apart."""
    if isinstance(config, str):
        yield config
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list | tuple) else ():
        yield from _texts(value)


def _replaced(config: Any, old: str, new: str) -> Any:
    """Plain containers with one part of their texts replaced by another."""
    if isinstance(config, dict):
        return {key: _replaced(value, old, new) for key, value in config.items()}
    if isinstance(config, list):
        return [_replaced(value, old, new) for value in config]
    return config.replace(old, new) if isinstance(config, str) else config
