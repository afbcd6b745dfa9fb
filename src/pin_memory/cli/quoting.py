"""Values of the command line that Hydra's grammar reads otherwise than they are meant: home folders, and the quoting that works."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pin_memory.utils.config import quoted

_SETTING = re.compile(r"([^'\"\[=]+=)(.*)", re.DOTALL)  # `key=` and its value
_HOME_VARIABLES = ("PIN_MEMORY_DATA", "PIN_MEMORY_RUNS", "PIN_MEMORY_CACHE")
_LITERAL = "Characters such as blanks, = , ; : ( ) [ ] { } # & ' \" \\ $ and letters with accents mean something else to Hydra, or nothing."


def expand_home(arguments: Sequence[str]) -> list[str]:
    """Replace `~` and `~user` at the start of values, where neither a shell nor Hydra does; also in the environment's folders."""
    for name in _HOME_VARIABLES:
        if os.environ.get(name, "").startswith("~"):
            os.environ[name] = str(Path(os.environ[name]).expanduser())
    return [_expanded(argument) for argument in arguments]


def _expanded(argument: str) -> str:
    match = _SETTING.fullmatch(argument)
    if not match:
        return argument
    key, value = match.groups()
    if key.startswith("-"):  # `--config-dir=~/mine`, which Hydra takes as it is
        return f"{key}{os.path.expanduser(value)}"  # noqa: PTH111 - an unknown user is left for the message that follows
    if value.startswith("["):
        return key + re.sub(r"(?<=[\[,])\s*(~[\w.-]*)(?=[/,\]])", lambda home: os.path.expanduser(home[1]), value)  # noqa: PTH111
    bare = parsed_value(argument) if value[:1] in ("'", '"') else value
    if not isinstance(bare, str) or not bare.startswith("~") or (home := os.path.expanduser(bare)) == bare:  # noqa: PTH111
        return argument
    return f"{key}{quoted(home)}"


def literal(override: str, before: str | None = None) -> str | None:
    """How an argument that Hydra cannot parse is typed so that its value is taken as it stands; None where that is not the fault.

    Args:
        override: The argument as Hydra got it.
        before: The argument in front of it, whose value may continue here: `input=my`, `photos`.
    """
    if "=" not in override:
        if before is None or "=" not in before or before.startswith("-"):
            return None
        advice = _typed(f"{before} {override}")
        return f"`{override}` is no setting. If it belongs to the value before it, quote both together: {advice}" if advice else None
    key, _, value = override.partition("=")
    advice = _typed(override)
    if advice is None:
        return None
    if value.startswith("[") and value.endswith("]"):
        parts = ",".join(quoted(part.strip().strip("'\"")) for part in value[1:-1].split(","))
        advice = f"{for_shell(f'{key}=[{parts}]')} for a list, {advice} for one value"
    return f"The value of {key} has to be in quotes that reach Hydra: {advice}\n{_LITERAL}"


def escaped(overrides: Sequence[str]) -> str | None:
    """How a value with `${` is typed that is meant as it stands; None where no argument has one."""
    for override in overrides:
        if "=" in override and "${" in override and (advice := _typed(override)):
            return f"If ${{ belongs to the value and begins no reference: {advice}"
    return None


def _typed(override: str) -> str | None:
    """An argument for a shell whose value Hydra takes as it stands; None where quotes do not help."""
    key, _, value = override.partition("=")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    argument = f"{key}={quoted(value)}"
    return None if parsed_value(argument) != value.replace("${", "\\${") else for_shell(argument)


def for_shell(argument: str) -> str:
    """An argument as it is typed in a shell, in double quotes where it has single ones."""
    return f'"{argument}"' if "'" in argument and not re.search(r'["$`\\!]', argument) else shlex.quote(argument)


def parsed_value(argument: str) -> object:
    """The value of an argument by Hydra's grammar; None where it does not parse."""
    try:
        return OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return None
