"""`predict.json`: by which settings the results of an output folder were made, so that none are mixed when a run is resumed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import report_write_errors, write_text
from pin_memory.utils.safe_load import read_json

RECORD = "predict.json"
"""Its name. A result older than it was made by other settings, or is to be made again."""
_NOT_COMPARED = ("checkpoint",)
"""A path for people to read; the digest of the file decides."""


def open_record(output: Path, settings: Mapping[str, Any], overwrite: bool = False, existing: Iterable[Path] = ()) -> Path:
    """Resume an output folder, or begin it, and return its record; results that are not older than it need not be made again.

    Refuses, unless `overwrite` is set, a folder with results of other settings, and one without a record in which results would replace
    `existing` files: nobody knows whose they are.
    """
    path = output / RECORD
    requested = json.loads(json.dumps(settings))
    if not overwrite and path.is_file():
        _check(path, requested)
        return path
    if not overwrite and (file := next(iter(existing), None)):
        raise ConfigurationError(
            f"{file} exists, and no {RECORD} in {output} says that a prediction made it; a result would replace it. Choose another output"
            " folder, or set overwrite=true to replace it and all others that have a result's name."
        )
    with report_write_errors(path):
        write_text(path, json.dumps(requested, indent=2, ensure_ascii=False) + "\n")
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(path: Path, requested: Mapping[str, Any]) -> None:
    """Compare the requested settings with those of the record."""
    try:
        found = read_json(path)
        differing = [key for key in requested if key not in _NOT_COMPARED and found.get(key) != requested[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path} is damaged ({error}). Set overwrite=true to segment everything again.") from error
    if differing:
        lines = "\n".join(f"  {key}: {_shown(found, key)}, now {_shown(requested, key)}" for key in differing)
        raise ConfigurationError(
            f"{path.parent} holds results of other settings, which would be mixed with the new ones:\n{lines}\n"
            "Choose another output folder, or set overwrite=true to make everything in it again."
        )


def _shown(settings: Mapping[str, Any], key: str) -> str:
    """A setting in a message; of a digest the file and its first digits."""
    value = settings.get(key)
    return f"{settings.get('checkpoint')} ({value[:12]})" if key == "digest" and isinstance(value, str) else str(value)
