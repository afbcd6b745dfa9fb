"""`predict.json`: by which settings the results of an output folder were made, so that none are mixed when a run is resumed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import report_write_errors, write_text

RECORD = "predict.json"
"""Its name. A result older than it was made by other settings, or is to be made anew."""
_TOLD = ("checkpoint",)
"""Told for people; the digest of the file decides."""


def open_record(output: Path, settings: Mapping[str, Any], overwrite: bool = False, there: Iterable[Path] = ()) -> Path:
    """Go on with an output folder, or begin it.

    Args:
        output: The folder that results go to.
        settings: What the results depend on, as plain containers.
        overwrite: Begin anew, whatever is there.
        there: Files that results would replace; without a record nobody knows whose they are.

    Returns:
        The record. Results that are not older than it need not be made again.

    Raises:
        ConfigurationError: The folder holds results of other settings, or files of unknown origin where results would go.
        OutputError: The record cannot be written.
    """
    path = output / RECORD
    wanted = json.loads(json.dumps(settings))
    if not overwrite and path.is_file():
        _check(path, wanted)
        return path
    if not overwrite and (file := next(iter(there), None)):
        raise ConfigurationError(
            f"{file} is there, and no {RECORD} in {output} says that a prediction made it; a result would replace it. Choose another output"
            " folder, or say overwrite=true to replace it and all others that have a result's name."
        )
    with report_write_errors(path):
        write_text(path, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(path: Path, wanted: Mapping[str, Any]) -> None:
    """Compare with the settings of the record.

    Raises:
        ConfigurationError: One differs, or the record cannot be read.
    """
    try:
        found = read_json(path)
        differing = [key for key in wanted if key not in _TOLD and found.get(key) != wanted[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path} is damaged ({error}). Say overwrite=true to segment everything anew.") from error
    if differing:
        lines = "\n".join(f"  {key}: {_told(found, key)}, now {_told(wanted, key)}" for key in differing)
        raise ConfigurationError(
            f"{path.parent} holds results of other settings, which would be mixed with the new ones:\n{lines}\n"
            "Choose another output folder, or say overwrite=true to make everything in it anew."
        )


def _told(settings: Mapping[str, Any], key: str) -> str:
    """A setting in a message; of a digest the file and its first digits."""
    value = settings.get(key)
    return f"{settings.get('checkpoint')} ({value[:12]})" if key == "digest" and isinstance(value, str) else str(value)
