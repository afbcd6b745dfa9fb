"""Checkpoint files that are whole or absent, also on a full disk."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write
from pin_memory.utils.safe_load import load_weights_only


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, flush it to the disk, and only then move it into place.

    A crash, a full disk or a power cut therefore leaves the earlier checkpoint of that name as it was. Local files only.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: Model and trainer state.
            path: The file to write; its folder is made if needed.
            storage_options: Not supported.

        Raises:
            TypeError: If `storage_options` is given.
            OutputError: If the file cannot be written.
        """
        if storage_options is not None:
            raise TypeError(f"{type(self).__name__} writes local files and takes no `storage_options`.")
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(Path(path).parent)
        except (OSError, RuntimeError) as error:
            # When a write fails, torch.save raises a RuntimeError of its own while closing the archive.
            cause = next((link for link in _chain(error) if isinstance(link, OSError)), None)
            if cause is None:
                raise
            raise OutputError(_message(Path(path), cause)) from error


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None if it is whole.

    `torch.load` itself does not compare the checksums that `torch.save` puts beside every tensor: a flipped bit goes unnoticed.

    Args:
        path: The file; it is read to its end, about 1 GB in a second, and nothing in it is run.
    """
    if not path.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                return f"the checksum of {broken} in it is wrong"
        load_weights_only(path)
    except ConfigurationError as error:
        return str(error)
    except Exception as error:  # zipfile raises half a dozen kinds for what is no archive, or a damaged one
        return f"it is no whole archive ({error or type(error).__name__})"
    return None


def _flush_folder(folder: Path) -> None:
    """Have the new name of a file survive a power cut, too; where folders cannot be flushed, the system decides when."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _message(path: Path, cause: OSError) -> str:
    """Say what could not be written, why, and what is left to go on with."""
    earlier = f"The earlier {path.name} is intact." if _exists(path) else "No half-written file was left behind."
    reason = cause.strerror or str(cause)
    return f"Cannot write the checkpoint {path}: {reason}. {earlier} Free some space there or choose another run folder."


def _exists(path: Path) -> bool:
    """Whether the file is there, where that can be seen at all."""
    try:
        return path.exists()
    except OSError:
        return False
