"""One process at a time in a run folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from pin_memory.errors import OutputError

LOCK = ".lock"
"""Name of the file that is locked; it stays, as removing it would let two processes lock two files of one name."""
_HELD: dict[Path, TextIOWrapper] = {}


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
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    place = folder.resolve()
    if place in _HELD:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = f" ({who()})" if who else ""
            raise OutputError(f"{folder}: another process is at work on this run{owner}. Wait for it or end it.") from error
        except OSError:
            pass  # a file system without locks
        _HELD[place] = file
        try:
            yield
        finally:
            _HELD.pop(place, None)


def is_in_use(folder: Path) -> bool:
    """Whether a process is at work in a folder, as far as locks tell."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with alone(folder):
            return False
    except OutputError:
        return True
    except OSError:  # a folder that cannot be written to: nothing can be gone on with there
        return True


def _let_go() -> None:
    """Close the files in a forked process: loaders' workers outlive a parent that was killed by seconds, and the lock would, too."""
    for file in _HELD.values():
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go)
