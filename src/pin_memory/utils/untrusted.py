"""Reading files of tensors and arrays that others have made: no code in them is run, and no size that they claim is believed."""

import mmap
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.utils.documents import TooLargeError, walk
from pin_memory.utils.errors import ConfigurationError, DataError

MAX_ARRAY_BYTES = 2**31
"""Bytes that the arrays of one npz file may come to: 2 GiB."""

_ASKS_FOR_MEMORY = b"bytearray\n"  # the one harmless-looking call that PyTorch allows and that takes any number of bytes
_CALLED = re.compile(r"GLOBAL `?([\w.]+)")
_REFUSED = ("weights_only", "Weights only load failed")


def load_weights_only(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Load a PyTorch file of tensors, plain containers and numbers; no code in it is run.

    Args:
        path: A file of `torch.save`.
        allowed: Classes that may be made besides (as of `torch.serialization.safe_globals`).

    Raises:
        ConfigurationError: It cannot be read, is damaged, would unpack to more than it may, or wants anything else to be called; says what.
    """
    import torch

    try:
        _check_archive(path)
        with torch.serialization.safe_globals(list(allowed)):
            content = torch.load(path, map_location="cpu", weights_only=True)
        check_expansion(content)
        _check_views(content)
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut, foreign or holds code
        raise ConfigurationError(_why_unread(path, error)) from error
    return content


def _why_unread(path: Path, error: Exception) -> str:
    """What to tell of a file that could not be loaded."""
    text = str(error)
    if (called := _CALLED.search(text)) or any(mark in text for mark in _REFUSED):
        what = f"{called[1]} would have to be called" if called else "something besides tensors would have to be made"
        return (
            f"{path} is refused: to load it, {what}. Only tensors, containers and numbers are read, because code in a checkpoint could do"
            " anything; nothing of it was run. Get the weights as safetensors or as a bare state dict, or save the state dict alone where"
            " that code is trusted."
        )
    if isinstance(error, TooLargeError):
        return f"{path} is refused: {error}. A checkpoint of PyTorch is never so; do not trust where it comes from."
    if isinstance(error, OSError):
        return f"{path} cannot be read ({error.strerror or error})."
    reason = text.splitlines()[0] if text else type(error).__name__
    return f"{path} is not a readable checkpoint ({reason}). Is it complete?"


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size, as PyTorch stores tensors as they are, and memory asked for by a number.

    Raises:
        TooLargeError: It is one.
    """
    with path.open("rb") as file:
        archived = file.read(4) == b"PK\x03\x04"
    if not archived:  # the older format
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            asks = content.find(_ASKS_FOR_MEMORY) >= 0
    else:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
            if claimed > path.stat().st_size:
                raise TooLargeError(f"an archive of {path.stat().st_size} bytes that would unpack to {claimed}")
            asks = any(_ASKS_FOR_MEMORY in archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
    if asks:
        raise TooLargeError("it holds a bytearray, of which no checkpoint has need")


def check_expansion(content: Any) -> None:
    """Refuse containers that hold themselves, are nested too deeply, or name the same parts again and again.

    Such content is small in a file; whatever walks through it never ends, or takes all memory.

    Raises:
        TooLargeError: More than `MAX_NODES` values or `MAX_DEPTH` levels.
    """
    walk(content, _parts)


def _check_views(content: Any) -> None:
    """Refuse tensors that claim to be larger than what is stored of them, once over again: whoever copies them needs all of it.

    Raises:
        TooLargeError: There is one.
    """
    import torch

    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor) and not value.is_sparse:
            claimed, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            if claimed > max(stored, 1) * 2:
                raise TooLargeError(f"a tensor that claims {claimed} bytes and has {stored}")
        waiting += _parts(value)


def _parts(value: Any) -> Iterable[Any]:
    """The values in a container; numbers, texts and tensors have none."""
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read arrays of numbers from an npz file; pickled objects are refused.

    Args:
        path: The file.
        names: Those to read; all by default.

    Raises:
        DataError: It cannot be read, is damaged, has no array of that name, claims absurd sizes, or holds objects, which could be code.
    """
    try:
        _check_arrays(path)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in names or content.files}
    except MemoryError as error:
        raise DataError(f"{path}: its arrays do not fit into the memory.") from error
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}") from error
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds for a damaged file
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} is refused: it holds Python objects instead of numbers, and loading these could run code of whoever made the file."
                " Nothing of it was run."
            ) from error
        raise DataError(f"{path} is not a readable npz file ({str(error) or type(error).__name__}).") from error


def _check_arrays(path: Path) -> None:
    """Compare what the arrays' heads claim with what the archive holds.

    Raises:
        TooLargeError: More than the limit, or more than there is.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if (total := sum(entry.file_size for entry in entries)) > MAX_ARRAY_BYTES:
            raise TooLargeError(f"it would unpack to {total} bytes, more than {MAX_ARRAY_BYTES}")
        for entry in entries:
            with archive.open(entry) as file:
                major, _ = np.lib.format.read_magic(file)
                head = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = head(file)
            claimed = dtype.itemsize * int(np.prod(np.array(shape, dtype=object)))
            if claimed > entry.file_size and not dtype.hasobject:
                raise TooLargeError(f"{entry.filename} claims {claimed} bytes and has {entry.file_size}")
