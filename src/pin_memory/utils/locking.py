"""One process at a time in a run folder."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from pin_memory.utils.errors import OutputError

LOCK = ".lock"
"""Name of the file that is locked; it stays, as removing it would let two processes lock two files of one name."""
_HELD: dict[Path, TextIOWrapper] = {}
_TRIES, _PAUSE = 20, 0.05  # a second in all: whoever only looks whether a folder is in use holds the lock for much less


@contextmanager
def alone(folder: Path, who: Callable[[], str] | None = None) -> Iterator[None]:
    """Keep other processes away from a folder, such as a cluster's job that was started again while the first one still runs.

    Held by this process already, it is no obstacle. File systems without locks keep nobody away.

    Args:
        folder: The folder; made if needed.
        who: Says who is at work there, for the message.

    Raises:
        OutputError: Another process is at work there.
    """
    place = folder.resolve()
    if place in _HELD:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        if not _lock(file):
            owner = f" ({who()})" if who else ""
            raise OutputError(f"{folder}: another process is at work on this run{owner}. Wait for it or end it.")
        _HELD[place] = file
        try:
            yield
        finally:
            _HELD.pop(place, None)


def is_in_use(folder: Path) -> bool:
    """Whether another process is at work in a folder, as far as locks tell.

    Any number of processes may look at the same time: what they hold for a moment is shared among them.
    """
    path = folder / LOCK
    if not path.is_file() or folder.resolve() in _HELD:
        return False
    if not os.access(path, os.W_OK):  # nothing can be gone on with there
        return True
    try:
        with path.open() as file:
            return not _lock(file, shared=True, tries=1)
    except OSError:
        return True


def _lock(file: TextIOWrapper, shared: bool = False, tries: int = _TRIES) -> bool:
    """Lock an open file until it is closed; whether that went, or there are no locks here."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE)
        except OSError:  # a file system without locks
            return True
        else:
            return True
    return False


def _let_go() -> None:
    """Close the files in a forked process: loaders' workers outlive a parent that was killed by seconds, and the lock would, too."""
    for file in _HELD.values():
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go)
