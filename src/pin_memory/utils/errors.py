"""Errors a user can act on: a command prints their message and ends with their exit code; all others are defects, with a traceback."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a missing thing that the user can fix; the message says what was expected, what was found, where, and what to do."""

    exit_code = 2


class DataError(UserError):
    """A data set, an image or a label that is missing, broken or not of the expected layout."""


class ConfigurationError(UserError):
    """Settings that contradict each other or the method."""


class SharedMistakeError(ConfigurationError):
    """A mistake in the settings that all jobs of a sweep have when the first one has it; it ends the sweep."""


class OutputError(UserError):
    """A result that cannot be written: disk full, folder not writable."""


class ResourceError(UserError):
    """Memory, processes or open files that do not suffice: the settings are sound, but not on this machine."""

    exit_code = 3


class NonFiniteError(UserError):
    """A loss, a gradient or a row of the memory that is not finite, found before it reached the weights."""


FULL_ERROR = "HYDRA_FULL_ERROR"  # variable of the environment with which Hydra, and every command, catches nothing
DEFECT = 1  # exit code of a defect, with which Python itself ends after a traceback


def first_names(names: Iterable[str], count: int = 3) -> str:
    """List the first `count` of `names` in a message, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def indent(text: str) -> str:
    """Indent every line of a part of a message."""
    return "\n".join(f"    {line}" for line in text.strip("\n").splitlines())
