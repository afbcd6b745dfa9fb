"""The arguments of the classes that settings name: from a table without importing them, or from the classes themselves."""

import functools
import inspect
import json
import re
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra._internal.utils import _locate

from pin_memory.utils.config import config_directory

TABLE = Path(__file__).with_name("arguments.json")
"""Arguments by class, and the versions of the packages that classes of others are from; made by `make reference`."""
_OURS = ("pin_memory", "hydra_plugins")


def listed_arguments(target: Any) -> Collection[str] | None:
    """The names of the arguments of a `_target_` by the table; None for one that it does not hold in the version that is installed."""
    package = str(target).partition(".")[0]
    known = package in _OURS or table()["versions"].get(package) == _version(package)
    found: str | None = table()["classes"].get(str(target)) if known else None
    return None if found is None else found.split()


@functools.cache
def table() -> dict[str, Any]:
    """The file of the table."""
    content: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return content


def make_table() -> dict[str, Any]:
    """The table, of the classes that the YAML files name; imports them all."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in config_directory().rglob("*.yaml"))
    taken = {target: arguments(target) for target in sorted(set(re.findall(r"_target_: ([\w.]+)", text)))}
    packages = sorted({target.partition(".")[0] for target in taken} - {*_OURS})
    classes = {target: " ".join(sorted(names)) for target, names in taken.items() if names is not None}
    return {"versions": {package: _version(package) for package in packages}, "classes": classes}


def _version(package: str) -> str | None:
    """The version of a package, whose distribution has its name; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def arguments(target: Any) -> set[str] | None:
    """The names of the arguments that a `_target_` takes, with those that it passes on to its base classes; None: any, or not known."""
    try:
        found = _locate(target)  # hydra.utils.get_object would print an error, too
    except Exception:  # instantiating it says why
        return None
    names: set[str] = set()
    owner = getattr(found, "__self__", found)  # of a class method: what it does not name goes to the constructor
    made = [vars(one)["__init__"] for one in inspect.getmro(owner) if "__init__" in vars(one)] if inspect.isclass(owner) else []
    for function in ([] if found is owner and made else [found]) + made:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)} - {"self"}
        if options := getattr(owner, "option_names", None):
            return names | set(options())
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            return names
    return None
