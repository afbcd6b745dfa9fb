"""Files that are either complete or absent, names that are safe, and the log file of a run."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pin_memory.utils.errors import OutputError

TEMPORARY = ".*.????????.tmp*"  # pattern of the files that a killed `atomic_write` leaves in a folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to, and move it into place only when the block ends without an error.

    A reader therefore sees the old file or the complete new one, never a half. The folder is made if needed; the temporary file keeps the
    suffix, since image writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is random, since several processes may write one file of a cache; the system applies the umask.
    temporary = path.with_name(f".{path.stem[:40]}.{uuid4().hex[:8]}.tmp{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def report_write_errors(path: str | Path, kind: str = "", other: str = "folder") -> Iterator[None]:
    """Turn a failure to write `path` within the block into an OutputError: `kind` ("the picture ") is put in front of its name."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot write {kind}{path}: {error.strerror or error}. Free some space or choose another {other}.") from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, completely or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_name(text: str) -> str:
    """Turn any name of a domain or an image into one part of a path: separators of folders and dots at the start become "_"."""
    name = re.sub(r"[/\\\0]", "_", text)
    return re.sub(r"^\.+", lambda dots: "_" * len(dots[0]), name) or "_"


def cache_folder(*parts: str) -> Path:
    """Return a place in the user's folder for what can be made again (drawn labels, class statistics); it need not exist yet.

    `PIN_MEMORY_CACHE` in the environment names another folder.
    """
    from platformdirs import user_cache_path  # only here, as every command imports this module before it starts

    return Path(os.environ.get("PIN_MEMORY_CACHE") or user_cache_path("pin_memory", appauthor=False)).joinpath(*parts)


class LogFile(logging.FileHandler):
    """The log file of a run; a disk that fills up ends the file, not the run, whose results report the full disk themselves."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Report once that the file cannot be written, and continue without it."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        print(f"{self.baseFilename} cannot be written ({error.strerror}); continuing without it.", file=sys.stderr)
