"""Finding the files of a data set, and choosing among them."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One image with its label file; `name` is unique within the domain and usable as a file name."""

    name: str
    image: Path
    label: Path


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file below `folder`, at any depth, with its path relative to it; hidden files are left out.

    Links are followed, but never back up to a folder that the walk is already in, which would have no end.
    """
    trail: dict[Path, tuple[tuple[int, int], ...]] = {}
    for name, folders, files in os.walk(folder, followlinks=True):
        place = Path(name)
        status = place.stat()
        above, here = trail.get(place.parent, ()), (status.st_dev, status.st_ino)
        if here in above:
            folders.clear()
            continue
        trail[place] = (*above, here)
        inner = "" if place == folder else place.relative_to(folder).as_posix() + "/"
        for file in sorted(files):  # of two files with one key, the same one wins on every file system
            if not file.startswith("."):
                yield inner + file, place / file


def find_files(folder: Path, name: str) -> dict[str, Path]:
    """Find the files below `folder` whose whole name matches a regular expression.

    Args:
        folder: Where to look, at any depth; links are followed.
        name: A pattern whose first group is the part of the name that image and label share.

    Returns:
        The files by their key: the first group, behind the folders between `folder` and the file. Hidden files are left out.
    """
    pattern = re.compile(name, re.IGNORECASE)  # cameras and some copies write .JPG
    found = {}
    for relative, path in walk_files(folder):
        if match := pattern.fullmatch(path.name):
            found[relative.removesuffix(path.name) + match[1]] = path
    return found


def contents(folder: Path) -> str:
    """Say what lies in a folder, for messages."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    return f"{folder} holds {first_names(names, 6)}" if names else f"{folder} is empty"


def first_names(names: Iterable[str], count: int = 3) -> str:
    """The first `count` of `names`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def indent(text: str) -> str:
    """Indent every line, for messages."""
    return "\n".join(f"    {line}" for line in text.strip("\n").splitlines())


def evenly_spaced(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, evenly spaced over the list from its first to its last; all of them when `limit` is None."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[round(position)] for position in np.linspace(0, len(samples) - 1, limit)]
