"""Folders of YAML files that a command line names besides the shipped ones: looked at before Hydra expands what is in them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pin_memory.utils.documents import check_yaml_file
from pin_memory.utils.errors import ConfigurationError

_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
_SEARCH_PATH = "hydra.searchpath="
_MOST = 10_000  # files; more are no folder of settings


def check_own_settings(arguments: Sequence[str]) -> None:
    """Refuse YAML files whose aliases repeat parts without end, that are nested too deeply, or are too large.

    Args:
        arguments: Of the command line.

    Raises:
        ConfigurationError: Names the file.
    """
    for folder in _folders(arguments):
        for number, path in enumerate(sorted(folder.rglob("*.yaml")) if folder.is_dir() else ()):
            if number >= _MOST:
                raise ConfigurationError(f"{folder} holds more than {_MOST} YAML files; name a folder of settings alone.")
            try:
                check_yaml_file(path)
            except ValueError as error:
                raise ConfigurationError(f"{path} is refused: {error}. Settings need no such thing.") from error


def _folders(arguments: Sequence[str]) -> Iterator[Path]:
    """The folders that the arguments name."""
    for place, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in _FLAGS:
            found = value or (arguments[place + 1] if place + 1 < len(arguments) else "")
            yield Path(found).expanduser()
        elif argument.startswith(_SEARCH_PATH):
            for part in argument.removeprefix(_SEARCH_PATH).strip("[]'\"").split(","):
                if part.strip(" '\"").startswith("file://") or "://" not in part:
                    yield Path(part.strip(" '\"").removeprefix("file://")).expanduser()
