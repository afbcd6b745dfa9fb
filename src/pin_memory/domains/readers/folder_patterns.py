"""Trees that a user describes: two folders or two patterns of files, and the names that pair image and label."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pin_memory.domains.readers.layouts import SPLITS, Found, Layout, walk_files
from pin_memory.utils.errors import ConfigurationError, DataError, first_names

EVERY_SPLIT = "all"
"""Asks for the files of all splits."""

_FILES = {"images": r"\.(?i:png|jpe?g|bmp|tiff?|webp)", "labels": r"\.(?i:png|bmp|tiff?)"}  # of a folder; a JPEG cannot hold labels
_WILDCARD = re.compile(r"(\*\*/|\*\*|\*)")
_GROUPS = {"**/": "((?:[^/]+/)*)", "**": "(.*)", "*": "([^/]*)"}


class Patterns(Layout):
    """A tree given by two folders or two patterns; what `*` and `**` stand for has to agree between image and label."""

    def find(self, root: Path, splits: Sequence[str]) -> Found | None:
        """List what the patterns match; None when no image does."""
        inner = self.split_folders(SPLITS if EVERY_SPLIT in splits else splits)
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for folder in inner:
            part_labels = _matches(root, self.labels.replace("{split}", folder), "labels")
            part_images = _matches(root, self.images.replace("{split}", folder), "images")
            if part_labels is None or part_images is None:
                continue
            # Frames of different splits may have the same name.
            start = f"{folder}/" if len(inner) > 1 else ""
            # In one folder, the images' pattern may match labels, too.
            images |= _by_key({path: start + key for path, key in part_images.items() if path not in part_labels}, "images")
            labels |= _by_key({path: start + key for path, key in part_labels.items()}, "labels")
        return Found(self, root, images, labels) if images else None


def require_patterns_fit(images: str, labels: str) -> None:
    """Refuse patterns that could not pair image and label."""
    for pattern in (images, labels):
        if set("{}\0") & set(pattern.replace("{split}", "")) or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise ConfigurationError(
                f"FolderDomain: {pattern!r} is no folder or pattern below the root; *, ** and {{split}} may stand in it."
            )
    if ("{split}" in images) != ("{split}" in labels):
        raise ConfigurationError(f"FolderDomain: {{split}} has to be in both of images={images!r} and labels={labels!r}, or in neither.")
    if images == labels or len(_WILDCARD.findall(images)) != len(_WILDCARD.findall(labels)):
        raise ConfigurationError(
            f"FolderDomain: images={images!r} and labels={labels!r} cannot be paired: expected two different folders, or two different "
            "patterns with as many * each."
        )


def require_below(folders: Mapping[str, str]) -> None:
    """Refuse folders of splits, for which "{split}" stands, that lead out of the root."""
    for split, folder in folders.items():
        if not isinstance(folder, str) or Path(folder).is_absolute() or ".." in Path(folder).parts or "\0" in folder:
            raise ConfigurationError(f"FolderDomain: splits={{{split}: {folder!r}}} is no folder below the root.")


def _matches(root: Path, pattern: str, kind: str) -> dict[Path, str] | None:
    """The files of a folder or pattern, with what its wildcards stand for; None when the folder that it starts with is missing."""
    parts = Path(pattern).as_posix().split("/")
    fixed = next((place for place, part in enumerate(parts) if "*" in part), len(parts))
    folder = root.joinpath(*parts[:fixed])
    if not folder.is_dir():
        return None
    rest = "".join(_GROUPS.get(part) or re.escape(part) for part in _WILDCARD.split("/".join(parts[fixed:])))
    expression = re.compile(rest or "(.+)" + _FILES[kind])
    found = {}
    for relative, path in walk_files(folder):
        if match := expression.fullmatch(relative):
            found[path] = "/".join(part.strip("/") for part in match.groups() if part)
    return found


def _by_key(files: Mapping[Path, str], kind: str) -> dict[str, Path]:
    """Turn the dictionary round; no key may have two files."""
    if twice := repeated(list(files.values())):
        names = first_names(str(path) for path in sorted(files) if files[path] == twice[0])
        raise DataError(
            f"FolderDomain: {kind} are ambiguous, {len(twice)} times; one of {names} has to go, or a pattern has to tell them apart."
        )
    return {key: path for path, key in files.items()}


def repeated(names: Sequence[str]) -> list[str]:
    """Those that come more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
