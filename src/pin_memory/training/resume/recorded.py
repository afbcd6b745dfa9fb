"""What a run folder that may be a stranger's may decide when it is resumed: settings of the run, but no code, places or plugins."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError

_HYDRA = re.compile(r"/?hydra([./]|$)")
_LEFT_OUT = ("resume", "trust", "paths.run")  # the run's folder is the one that is resumed
_WRITTEN = re.compile(r"(callbacks|logger|trainer)([.@]|$)|data\.stand_in(\.|$)")
"""Settings that say where files are written, among others."""


def is_left_out(key: str, override: Override, run: Path) -> bool:
    """Whether a setting on record is not taken over, as it is not the run's to decide.

    Hydra's own settings never lie among those on record; the folder of runs holds only if the run lies below it.

    Args:
        key: What is set, with the package.
        override: The parsed setting.
        run: The run folder.
    """
    if key in _LEFT_OUT or _HYDRA.match(key) or _HYDRA.match(override.package or ""):
        return True
    if key != "paths.output" or override.is_delete():
        return False
    return not run.resolve().is_relative_to(Path(str(override.value())).expanduser().resolve())


def check_recorded(text: str, override: Override, run: Path, trust: Sequence[str]) -> None:
    """Refuse a setting on record that resuming should not believe.

    Args:
        text: The setting as it is on record.
        override: The parsed setting.
        run: The run folder.
        trust: Packages that may be called, as the user says now.

    Raises:
        ConfigurationError: It calls what is not trusted, or reads or writes files at places of its choice.
    """
    if override.is_delete():
        return
    key, value = override.key_or_group, override.value()
    wanted, more = _unwanted(key, value, trust)
    if wanted:
        raise ConfigurationError(
            f"resume={run}: its settings on record (.hydra/overrides.yaml) hold {text}, {wanted}. A run folder may be a stranger's, so"
            f" this is not taken over. If it is as you want it, give this setting again beside resume={more}."
        )


def _unwanted(key: str, value: Any, trust: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a setting, and another way out; empty without."""
    from pin_memory.runs.trusted import SAFE_RESOLVERS, is_trusted, resolvers  # imports torch

    for target in _targets({key.rpartition(".")[2]: value}):
        if not is_trusted(target, trust):
            package = str(target).partition(".")[0]
            return f"and {target} would be called", f", or trust the package, if it can be imported here: trust=[{package}]"
    texts = list(_texts(value))
    if named := {name for one in texts for name in resolvers(one)} - set(SAFE_RESOLVERS):
        return f"which calls ${{{min(named)}:...}}", ""
    if "." not in key and any(".." in Path(one).parts or Path(one).is_absolute() for one in texts):
        return "which may read settings from elsewhere", ""
    if _WRITTEN.match(key) and any(_is_place(one) for one in texts):
        return "which may be a place to write to", ""
    return "", ""


def _is_place(text: str) -> bool:
    """Whether a value may be a path out of the run folder."""
    inside = text.removeprefix("${paths.run}")
    return ".." in Path(inside).parts or "${" in inside or (inside == text and ("/" in text or text.startswith("~")))


def _targets(value: Any) -> Iterator[Any]:
    """What is named as `_target_` in plain containers."""
    if isinstance(value, dict):
        yield from (found for key, found in value.items() if str(key) == "_target_")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _targets(part)


def _texts(value: Any) -> Iterator[str]:
    """All texts in plain containers; of another object, such as the parts of a sweep, its description."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif value is not None and not isinstance(value, bool | int | float):
        yield str(value)


def config_folder(path: Path, run: Path) -> list[str]:
    """The arguments for the folder of YAML files that a run was started with: those of this library alone are taken over.

    Args:
        path: The folder on record.
        run: The run folder.

    Raises:
        ConfigurationError: It is another one.
    """
    if path.resolve() == config_directory().resolve():
        return ["--config-dir", str(path)]
    raise ConfigurationError(
        f"resume={run}: it was started with --config-dir {path}. YAML files may name code, and a run folder may be a stranger's: give"
        f" --config-dir again beside resume=."
    )
