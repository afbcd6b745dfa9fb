"""Read files that strangers may have made: tensors, numbers and plain containers, and no code in them is ever run.

What a file claims is not checked beforehand: one that needs more memory than there is ends in the message for that. torch and numpy are
imported by the functions that need them, since this module is imported before every command.
"""

import errno
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.files import read_text

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

MAX_JSON_BYTES = 2**29  # bytes of a JSON file: 512 MiB; the annotations of a complete data set take tens of megabytes
_CALLED = re.compile(r"GLOBAL `?([\w.]+)")


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file of at most `limit` bytes; raises OSError where it cannot be read and ValueError where it is damaged or too large."""
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"a file of {size} bytes; at most {limit} are read")
    if not path.is_file():
        raise ValueError("a folder, a pipe or a device, not a file")
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("brackets nested too deeply") from error


def read_json_or(path: Path, default: Any) -> Any:
    """Read a JSON file; `default` where there is none that can be read, with a warning where there is one."""
    try:
        return read_json(path)
    except OSError:
        return default
    except ValueError as error:
        log.warning("%s is no readable JSON and is passed over: %s", path, error)
        return default


def read_yaml(path: Path) -> Any:
    """Read a YAML file to plain containers; raises OSError where it cannot be read, ValueError where it is damaged or asks for objects."""
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"no YAML of plain values: {' '.join(str(error).split())}") from error


def load_weights_only(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Load what `torch.save` wrote, onto the CPU, as tensors, plain containers, numbers and instances of `allowed` classes.

    A file that cannot be read, is damaged, or asks for anything else to be called is a ConfigurationError that says what.
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut, foreign or holds code
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one: torch looks for the end of an archive that is cut
            raise ConfigurationError(f"{path} cannot be read ({error.strerror or error}).") from error
        text = str(error) or type(error).__name__
        called = _CALLED.search(text)
        if not called and "weights_only" not in text and "Weights only load failed" not in text:
            raise ConfigurationError(f"{path} is not a readable checkpoint ({text.splitlines()[0]}). Is it complete?") from error
        what = f"{called[1]} would have to be called" if called else "something besides tensors would have to be made"
        raise ConfigurationError(
            f"{path} is refused: to load it, {what}. Only tensors, containers and numbers are read, because code in a checkpoint could do"
            " anything; nothing of it was run. Get the weights as safetensors or as a bare state dict, or save the state dict alone where"
            " that code is trusted."
        ) from error


def load_arrays(path: Path, *names: str) -> dict[str, "np.ndarray"]:
    """Read the arrays of an npz file, or those with these names; one that lacks some, is damaged or holds objects is a DataError."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in names or content.files}
    except MemoryError:
        raise
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}") from error
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds for a damaged file
        if "allow_pickle" not in str(error):
            raise DataError(f"{path} is not a readable npz file ({str(error) or type(error).__name__}).") from error
        raise DataError(
            f"{path} is refused: it holds Python objects instead of numbers, and loading these could run code of whoever made the file."
            " Nothing of it was run."
        ) from error
