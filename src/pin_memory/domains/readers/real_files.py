"""The files below a folder, through links to other trees, too, and which of their names stand for one and the same file."""

import logging
import os
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path

from pin_memory.utils.errors import DataError

log = logging.getLogger(__name__)


def walk_files(folder: Path, recursive: bool = True, enter: Callable[[Path, list[str]], bool] | None = None) -> Iterator[tuple[str, Path]]:
    """Yield each file below `folder`, at any depth, with its path relative to it; hidden files are left out.

    Folders come before links, each link is followed once, and none that leads back up to a folder that it lies in: however links cross, the
    walk ends soon, though it may come by one file under several names. `enter` gets a folder and its files' names; False leaves it out.
    """

    def report_unreadable(error: OSError) -> None:
        if error.filename == str(folder):
            raise DataError(f"{folder}: this folder cannot be read ({error.strerror}). Check its permissions.") from error
        log.warning("%s cannot be read (%s) and is left out.", error.filename, error.strerror)

    starts, followed = deque([folder]), set()
    while starts:
        for name, folders, files in os.walk(starts.popleft(), onerror=report_unreadable):
            place, real = Path(name), Path(os.path.realpath(name))
            if enter is not None and not enter(place, files):
                folders.clear()
                continue
            folders[:] = sorted(folders) if recursive else []
            for link in (link for link in folders if (place / link).is_symlink() and real / link not in followed):
                followed.add(real / link)
                if not real.is_relative_to(os.path.realpath(place / link)):
                    starts.append(place / link)
            inner = "" if place == folder else place.relative_to(folder).as_posix() + "/"
            for file in sorted(files):  # of two files with one key, the same one wins on every file system
                if not file.startswith("."):
                    yield inner + file, place / file


def find_files(folder: Path, name: str, recursive: bool = True) -> dict[str, Path]:
    """Find the files whose complete name matches a regular expression, by key: its first group, behind the folders below `folder`."""
    pattern = re.compile(name, re.IGNORECASE)  # cameras and some copies write .JPG
    found = {}
    for relative, path in walk_files(folder, recursive):
        if match := pattern.fullmatch(path.name):
            found[relative.removesuffix(path.name) + match[1]] = path
    return found


def file_identity(path: Path) -> Hashable:
    """What all names of a file share, be they symbolic or hard links; the path itself where nothing can be reached by it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - half the time of the method, and there is one call for each file of a data set
    except OSError:
        return path
    # Some network file systems make up numbers of files; size and time keep two files apart there.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def one_name_each(paths: Mapping[Path, Hashable], root: Path) -> set[Path]:
    """One path below `root` for each file, of paths with their `file_identity`: the first without a link in it, or else the first."""
    names: dict[Hashable, list[Path]] = {}
    for path, file in paths.items():
        names.setdefault(file, []).append(path)
    if len(names) == len(paths):
        return set(paths)

    def is_linked(path: Path) -> bool:
        return os.path.realpath(path) != os.path.join(os.path.realpath(root), os.path.relpath(path, root))  # noqa: PTH118 - as text

    return {own[0] if len(own) == 1 else min(own, key=is_linked) for own in names.values()}
