"""Files that are either whole or absent."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from pin_memory.utils.errors import OutputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to, and move it into place only when the block ends well.

    A reader therefore sees the old file or the whole new one, never a half. The folder is made if needed.

    Args:
        path: The file to write. The temporary file keeps its suffix, since image writers choose the format by it.

    Yields:
        The path to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def told_if_unwritten(path: str | Path, what: str = "", other: str = "folder") -> Iterator[None]:
    """Turn a failure to write `path` within the block into a message for the user.

    Args:
        path: The file that is written.
        what: Put before its name in the message ("the picture ").
        other: What the user may choose another one of.

    Raises:
        OutputError: The block raised an OSError: a full disk, no permission.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot write {what}{path}: {error.strerror or error}. Free some space or choose another {other}.") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_name(text: str) -> str:
    """A name that is one part of a path, whatever a data set or a checkpoint calls its domains and images.

    Args:
        text: Any name; what separates folders becomes "_", and so do dots at its start.
    """
    name = re.sub(r"[/\\\0]", "_", text)
    return re.sub(r"^\.+", lambda dots: "_" * len(dots[0]), name) or "_"


def cache_folder(*parts: str) -> Path:
    """The user's folder for what can be made again (drawn labels, class statistics); it need not exist yet.

    `PIN_MEMORY_CACHE` in the environment names another one.

    Args:
        parts: Folders below it.
    """
    return Path(os.environ.get("PIN_MEMORY_CACHE") or user_cache_path("pin_memory", appauthor=False)).joinpath(*parts)


def _umask() -> int:
    """The process's file mode mask; reading it means setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
