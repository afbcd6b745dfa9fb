"""Settings from a checkpoint, an export or a run folder, which may be a stranger's: they call trusted classes only.

They are checked as they lie in the file, before any reference is followed. That is enough: a `_target_` has to be a plain name there, and
no reference, resolver or text can make another one, so whatever a reference leads to has been checked, too. The settings stay as they are,
so `paths.data` may be given anew.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar_parser import parse

from pin_memory.utils.errors import ConfigurationError

_ROOMS = tuple(f"pin_memory.{room}." for room in ("methods", "memory", "networks", "domains", "inference"))
BUILT = ("method", "network", "data")
"""The settings from which something is built."""
_FUNCTION = "pin_memory.domains.MultiSourceDataModule.leave_one_out"
"""The only thing that the shipped configuration calls besides classes."""
_RESOLVERS = ("oc.env", "oc.select", "oc.dict.keys", "oc.dict.values")  # oc.create and oc.decode make settings out of text
_NAME = re.compile(r"[^\W\d_]\w*(\.[^\W\d_]\w*)+")  # no part begins with an underscore
_LONE_DOLLAR = re.compile(r"\$(?!\{)|\\\$")  # with other texts it could become a reference that was not there to be checked


def trusted_settings(settings: Mapping[Any, Any], path: Path, trust: Sequence[str] = ()) -> dict[Any, Any]:
    """The settings of a file to build from; refused if they would call anything but trusted classes and what the packages in `trust` hold.

    Nested parts of `trainer` are left out: nothing is built from them.
    """
    checked = dict(settings)
    if isinstance(trainer := checked.get("trainer"), dict):
        checked["trainer"] = {key: value for key, value in trainer.items() if key != "_target_" and not isinstance(value, dict | list)}
    if reason := refusal(checked, trust):
        raise ConfigurationError(f"{path}: the settings in this file {reason}.")
    try:
        config = OmegaConf.create(checked)
        resolved = [OmegaConf.to_container(config[key], resolve=True) for key in BUILT if key in checked]
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: the settings in this file are damaged ({type(error).__name__}: {error}).") from error
    if any("${" in str(value) for _, value in _values(resolved)):
        raise ConfigurationError(f"{path}: the settings in this file hold ${{ where it is no reference; expected plain values.")
    return checked


def refusal(settings: Any, trust: Sequence[str] = ()) -> str | None:
    """Why nothing may be built from plain containers with references; None if it may."""
    for key, value in _values(settings):
        if key == "_target_" and not is_trusted(value, trust):
            package = str(value).partition(".")[0]
            return (
                f"name {value}, which loading them would call. If they are from somebody you trust, set trust=[{package}] (a package that"
                " can be imported here; of this library and torch.optim only classes are called)"
            )
        if unknown := sorted(set(_resolvers(str(value))) - set(_RESOLVERS)):
            return f"call ${{{unknown[0]}:...}}; expected references to other settings, or {', '.join(_RESOLVERS)}"
        if isinstance(value, str) and _LONE_DOLLAR.search(value):
            return f"hold a $ that begins no reference: {value}"
    return None


def is_trusted(target: Any, trust: Sequence[str] = ()) -> bool:
    """Whether settings from a file may call what is named: a class of this library or of torch.optim, or anything of a trusted package.

    It goes by where the object is defined, too: a module of ours has `torch.save` among its attributes. Other functions of this library are
    never called, since some read further files, or write.
    """
    packages = tuple(f"{package.rstrip('.')}." for package in trust)
    allowed = (*_ROOMS, "torch.optim.", *packages)
    if not isinstance(target, str) or not _NAME.fullmatch(target) or not target.startswith(allowed):
        return False
    try:
        found = hydra.utils.get_object(target)
        home = f"{getattr(found, '__module__', None)}."
    except Exception:  # there is no such thing, or its module cannot be imported
        return False
    if home.startswith("pin_memory."):
        return target == _FUNCTION or (inspect.isclass(found) and home.startswith(allowed))
    if home.startswith(packages):
        return True
    import torch

    kinds = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    return inspect.isclass(found) and home.startswith("torch.optim.") and issubclass(found, kinds)


def _values(node: Any, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every value that is no container, and every `_target_`, each with its key."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == "_target_":
                yield name, value
            yield from _values(value, name)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _values(value)
    else:
        yield key, node


def _resolvers(text: str) -> list[str]:
    """The resolvers that references in a text call, `oc.env` of `${oc.env:HOME}`; a name that is put together is returned as it stands."""
    if "${" not in text:
        return []
    try:
        nodes = [parse(text)]
    except GrammarParseError:  # it will resolve to nothing
        return []
    found = []
    while nodes:
        node = nodes.pop()
        if type(node).__name__ == "InterpolationResolverContext":
            found.append(node.resolverName().getText())
        nodes += getattr(node, "children", None) or []
    return found
