"""Checkpoint files that are complete or absent, also on a full disk, and that are read with their checksums."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write
from pin_memory.utils.safe_load import load_weights_only


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint next to its place, flush it to the disk, and only then move it into place.

    A crash, a full disk or a power cut therefore leaves the earlier checkpoint of that name as it was. Local files only. Lightning's own
    temporary file lies in the system's folder for these, from where it is copied on a cluster, not moved.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint; its folder is made if needed, and a file that cannot be written is an OutputError."""
        if storage_options is not None:
            raise TypeError(f"{type(self).__name__} writes local files and takes no `storage_options`.")
        path = Path(path)
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(path.parent)
        except (OSError, RuntimeError) as error:
            # When a write fails, torch.save raises a RuntimeError of its own while closing the archive.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise
            there = os.path.exists(path)  # noqa: PTH110 - Path.exists raises where the folder may not be read
            earlier = f"The earlier {path.name} is intact." if there else "No half-written file was left behind."
            raise OutputError(
                f"Cannot write the checkpoint {path}: {cause.strerror or cause}. {earlier} Free some space there or choose another folder."
            ) from error


class DamagedCheckpointError(ConfigurationError):
    """A checkpoint file that is not as it was written; the message says what is wrong, without the file's name."""


def load_intact(path: Path) -> Any:
    """Load a checkpoint whose checksums are all correct; no code in it is run.

    `torch.load` itself does not compare the checksums that `torch.save` puts next to every tensor: a flipped bit goes unnoticed. A file
    that is empty, cut short, changed or foreign, or holds code, raises a DamagedCheckpointError.
    """
    if not path.stat().st_size:
        raise DamagedCheckpointError("it is empty")
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        content = load_weights_only(path)
    except PermissionError:  # which says nothing of the file
        raise
    except ConfigurationError as error:
        raise DamagedCheckpointError(str(error)) from error
    except Exception as error:  # zipfile raises half a dozen kinds for what is no archive, or a damaged one
        raise DamagedCheckpointError(f"it is no complete archive ({error or type(error).__name__})") from error
    if broken:
        raise DamagedCheckpointError(f"the checksum of {broken} in it is wrong")
    return content


def _flush_folder(folder: Path) -> None:
    """Have the new name of a file survive a power cut, too; where folders cannot be flushed, the system decides when."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
