"""One process at a time in a run folder."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from pin_memory.utils.errors import OutputError

LOCK = ".lock"  # name of the file that is locked; it stays when the lock is released
PATIENCE = 10.0
"""Seconds to wait for a lock: loading processes outlive a parent that was killed by about five, and hold its lock until then."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
_LOOK = 0.3  # seconds to wait when only looking, since another process may look at the same moment


@contextmanager
def exclusive(folder: Path, owner: Callable[[], str] | None = None, advice: str = "") -> Iterator[None]:
    """Keep other processes out of a folder, such as a cluster's job that was started again while the first one still runs.

    Another process at work there, which `owner` names, is an OutputError that ends in `advice`. In the process that holds the lock already
    it is no obstacle, and a file system without locks keeps nobody out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock: AbstractContextManager[object] = nullcontext()
    try:
        lock = _lock(folder).acquire(timeout=PATIENCE)
    except Timeout as error:
        name = f" ({owner()})" if owner else ""
        raise OutputError(f"{folder}: another process is at work on this run{name}. Wait for it or end it{advice}.") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    with lock:
        yield


def is_in_use(folder: Path) -> bool:
    """Whether another process is at work in a folder, or nothing can be written there."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with _lock(folder).acquire(timeout=_LOOK, poll_interval=0.01):
            return False
    except (Timeout, OSError):
        return True


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.resolve() / LOCK, is_singleton=True)
