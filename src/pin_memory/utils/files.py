"""Files that are either complete or absent, text in any encoding, digests, names that are safe, and the log file of a run."""

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pin_memory.utils.errors import OutputError
from pin_memory.utils.user import settle_user

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


def read_text(path: Path) -> str:
    """Read a text file of a user as `decode_text` does; raises OSError where it cannot be read, ValueError where it is no such text."""
    return decode_text(path.read_bytes())


def decode_text(data: bytes) -> str:
    """Turn the bytes of a text file into text without byte order marks, whose lines end in a line feed.

    UTF-8, UTF-16 and UTF-32 are recognised by the mark or, as in JSON, by the zeros in the first characters. Other encodings cannot be
    recognised for certain: they are a ValueError that says where the text stops making sense and what to do.
    """
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise ValueError(
            f"line {line} holds the byte 0x{byte:02x}, which is no {encoding.removesuffix('-sig').upper()}: the file is in another"
            " encoding, such as Latin-1 or Windows-1252, or is no text. Save it as UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} holds a zero byte: the file is damaged, or is no text. Save it anew as UTF-8.")
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")  # the sign for the end of a text in DOS
    return re.sub(r"^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text  # in the middle, of files that were joined


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, which raises OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_name(text: str) -> str:
    """Turn any name of a domain or an image into one part of a path: separators of folders and dots at the start become "_"."""
    name = re.sub(r"[/\\\0]", "_", text)
    return re.sub(r"^\.+", lambda dots: "_" * len(dots[0]), name) or "_"


def cache_folder(*parts: str) -> Path:
    """Return a place in the user's folder for what can be made again (drawn labels, class statistics); it need not exist yet.

    `PIN_MEMORY_CACHE` in the environment names another folder.
    """
    from platformdirs import user_cache_path  # only here, as every command imports this module before it starts

    settle_user()
    return Path(os.environ.get("PIN_MEMORY_CACHE") or user_cache_path("pin_memory", appauthor=False)).joinpath(*parts)


class LogFile(logging.FileHandler):
    """The log file of a run, which keeps its lines back until `begin`: until the run's folder is held by this process.

    A disk that fills up ends the file, not the run, whose results report the full disk themselves.
    """

    def __init__(self, filename: str | Path, encoding: str = "utf-8") -> None:
        super().__init__(filename, encoding=encoding, delay=True)
        self._kept_back: list[logging.LogRecord] | None = []

    def begin(self) -> None:
        """Open the file and write what was kept back; the second time nothing happens."""
        if self._kept_back is not None:
            records, self._kept_back = self._kept_back, None
            self.stream = self._open()
            for record in records:
                self.emit(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it back."""
        if self._kept_back is None:
            super().emit(record)
        else:
            self._kept_back.append(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Report once that the file cannot be written, and continue without it."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        print(f"{self.baseFilename} cannot be written ({error.strerror}); continuing without it.", file=sys.stderr)
