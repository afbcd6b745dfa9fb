"""Settings that nothing reads: a misspelt key, `+x=1`, a group that does not belong. Every command refuses them before it starts."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pin_memory.cli.arguments import arguments
from pin_memory.utils.config import config_directory, plain
from pin_memory.utils.errors import SharedMistakeError, first_names

_FREE_NAMES = ("callbacks", "logger")  # groups of objects that a user names; each has a `_target_`
_CHECKED_LATER = ("data.targets",)  # of an evaluation: they join the data of the checkpoint's run, whose constructor checks them
_DOMAINS = ("data.sources", "data.targets", "data.domains")
_HYDRAS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
_REFERENCE = re.compile(r"\$\{\s*(?:([\w.]+):)?([^{}]*)\}")  # without one within it
_ANY = "*"  # in the place of a reference within a reference
_NO_REFERENCE = ("oc.env", "now", "hydra")  # resolvers whose arguments are no settings


def refuse_unread(cfg: DictConfig, command: str) -> None:
    """Refuse a composed configuration with keys that neither the command, nor a class that it names, nor another setting reads."""
    reference = compose(command, return_hydra_config=True)
    groups = [group for group in reference.hydra.runtime.choices if "/" not in group]
    settings = plain(cfg) | {"hydra": plain(HydraConfig.get())}
    known = plain(reference) | {"hydra": _open(plain(OmegaConf.structured(HydraConf))) | {"env": None}}
    chosen = {group: None for group in groups if "_target_" in (settings.get(group) or ())}  # of those that are null by default
    _refuse_replaced(settings, known, command)
    references = _references(settings)
    _report(dict(_unread(settings, chosen | known, "", references)), known, groups)


def _report(unread: Mapping[str, list[str]], known: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Raise the error that names what nothing reads, if there is anything."""
    if unread:
        places = {key: [*names, *groups] if "." not in key else names for key, names in unread.items()}
        messages = [no_such_setting(key, names, known) for key, names in list(places.items())[:5]]
        more = [f"{len(unread) - 5} more have no reader either."] if len(unread) > 5 else []
        raise SharedMistakeError("\n".join([*messages, *more]))


def _refuse_replaced(settings: Mapping[str, Any], known: Mapping[str, Any], command: str) -> None:
    """Refuse a value of the command line in the place of a group of settings, from which no object could be made."""
    options: Mapping[str, Any] | None = None
    typed = list(HydraConfig.get().overrides.task)
    for key in (override.partition("=")[0].lstrip("+") for override in typed if not override.startswith("~")):
        value = _select(settings, key)
        if value is None or isinstance(value, Mapping | list) or "${" in str(value):
            continue
        if (there := _select(known, key)) is None:  # what only a chosen option has: an experiment, a network
            if options is None:
                groups = {folder.name for folder in config_directory().iterdir() if folder.is_dir()}
                options = plain(compose(command, [override for override in typed if override.partition("=")[0].lstrip("+") in groups]))
            there = _select(options, key)
        if isinstance(there, Mapping) and there:
            names = [str(name) for name in there if name not in _HYDRAS]
            advice = f"Set one of its own: {first_names([f'{key}.{name}' for name in names], 3)}." if names else "Leave it out."
            raise SharedMistakeError(f"{key}={value}: expected a group of settings, found a single value. {advice}")


def _select(settings: Mapping[str, Any] | None, key: str) -> Any:
    """The setting of a dotted key; None where there is none."""
    found: Any = settings
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _open(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in which what is an empty dictionary takes any key."""
    return {key: (_open(value) or None) if isinstance(value, Mapping) else value for key, value in settings.items()}


def no_such_setting(key: str, names: Collection[str], settings: Mapping[str, Any]) -> str:
    """One sentence on a key that nothing reads: the nearest of the `names` next to it, the same name elsewhere in the settings, or all."""
    place, _, name = key.rpartition(".")
    near = [f"{place}.{one}" if place else one for one in difflib.get_close_matches(name, {*names} - {name}, 3)]
    near += [one for one in _paths(settings) if one.rpartition(".")[2] == name and one not in (key, *near)][:2]
    if near:
        return f"There is no setting {key}; nothing would read it. Did you mean {' or '.join(near)}?"
    if place in _DOMAINS:
        return f"There is no setting {key}; nothing would read it. Add the complete domain first: +domain@{key}=folder"
    where = f"{place} has" if place else "Expected one of"
    listed = first_names(sorted({*names} - {"hydra", name}), 20)
    return f"There is no setting {key}; nothing would read it. {where} {listed or 'no settings'}."


def _unread(node: Mapping[str, Any], known: Any, path: str, references: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """The keys below a node that nothing reads, each with the names that are known next to it."""
    target = node.get("_target_")
    names = arguments(target) if target else list(known) if isinstance(known, Mapping) else None
    for name, value in node.items():
        key = f"{path}.{name}" if path else str(name)
        is_read = names is None or name in names or name in _HYDRAS or path in _CHECKED_LATER
        is_read = is_read or (path in _FREE_NAMES and _may_be_object(value))
        partly = not is_read and isinstance(value, Mapping) and any(one.startswith(f"{key}.") for one in references)
        referred_to = not target and any(f"{key}.".startswith(f"{one}.") for one in references)
        if not (is_read or partly or referred_to):
            yield key, list(names or ())
        elif isinstance(value, Mapping):
            own = known.get(name) if isinstance(known, Mapping) else None
            yield from _unread(value, {} if partly else None if "_target_" in node else own, key, references)


def _may_be_object(value: Any) -> bool:
    """Whether an entry of a group of objects is one, a reference to one, or left out."""
    return value is None or ("_target_" in value if isinstance(value, Mapping) else "${" in str(value))


def _references(content: Any, path: tuple[str, ...] = ()) -> set[str]:
    """The settings that `${...}` in plain containers lead to; where it names one by another reference, all that it may lead to."""
    if isinstance(content, Mapping | list):
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        return {name for key, value in items for name in _references(value, (*path, str(key)))}
    found: set[str] = set()
    while isinstance(content, str) and (reference := _REFERENCE.search(content)):
        resolver, inner = reference.groups()
        texts = () if resolver in _NO_REFERENCE else inner.split(",")
        found |= {_absolute(text.strip(), path) for text in texts}
        content = content[: reference.start()] + _ANY + content[reference.end() :]
    return found - {""}


def _absolute(reference: str, path: tuple[str, ...]) -> str:
    """The dotted key of a reference `a.b`, `a[b]` or, relative to the setting at `path`, `.b`; up to where it may lead to several."""
    key = re.sub(r"\[['\"]?([^\]'\"]+)['\"]?\]", r".\1", reference.partition(_ANY)[0])
    dots = len(key) - len(key.lstrip("."))
    above = path[: len(path) - dots] if dots else ()
    return ".".join((*above, key.strip("."))).strip(".")


def _paths(settings: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """All keys, dotted."""
    for name, value in settings.items():
        yield f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{path}{name}.")
