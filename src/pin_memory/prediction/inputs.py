"""What is to be segmented: an image, a video, a folder with all below it, a glob pattern or a list of paths."""

import fnmatch
import glob
import itertools
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pin_memory.domains.readers.real_files import file_identity, one_name_each, walk_files
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.names import existing, is_header, path_or_pattern, readings, unquoted

log = logging.getLogger(__name__)

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")  # file names that count as images in a folder, in lower or upper case
RECORD = "predict.json"
"""In an output folder: by which settings its results were made. A result older than it was made by others, or is to be made again."""
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")  # file names that count as videos, in lower or upper case


@dataclass(frozen=True)
class Item:
    """An image or a video, and where its results go.

    Attributes:
        path: The file to read.
        name: Path of its results below the output folder, without what tells their kinds apart.
    """

    path: Path
    name: Path

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return self.path.suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Inputs:
    """The items in the order in which they are segmented, and the folder whose tree the output mirrors."""

    items: list[Item]
    base: Path


def find_inputs(source: str | Path | Sequence[str], output: str | Path | None = None) -> Inputs:
    """List what is to be segmented.

    Args:
        source: An image, a video, a folder (its images at any depth, without hidden files and folders), a pattern with `*`, `**` or `?`,
            or a list of paths. Those of a list need not exist: what cannot be read is reported when its turn comes.
        output: The folder that results go to; nothing in it is an input, nor what lies in the output folder of another prediction.

    Returns:
        The `items`, and the folder `base` whose tree the output mirrors.

    Raises:
        DataError: Nothing is there, or no image.
        ConfigurationError: The results would lie among the inputs: the next run would segment them, too.
    """
    results = None if output is None else Path(output)
    if not isinstance(source, str | Path):
        return Inputs(_named(_listed(source)), _checked_base(Path.cwd(), results))
    path = path_or_pattern("input", source)
    if path.is_file():
        if path.suffix.lower() in (".txt", ".csv", ".tsv", ".lst"):
            raise DataError(f"input={source}: a text file. If it is a list of paths, put it on stdin: input=- < {path}")
        return Inputs([Item(path, Path(path.stem))], _checked_base(path.parent, results))
    if path.is_dir():
        base = _checked_base(path, results)
        files = _below(path, results)
    else:
        base = _checked_base(Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)), results)
        files = _matching(path, base, results)
    return Inputs(_named([(file, file.relative_to(base)) for file in files]), base)


def read_list(lines: Iterable[str]) -> list[str]:
    """The paths of a list, one a line, without empty lines, comments and repetitions.

    Of the ways to read a line the first that leads to a file counts: quotation marks, further columns and a header are no part of it.
    """
    paths: dict[str, None] = {}
    more: list[str] = []
    for text in (line.strip("\r\n") for line in lines):
        files = _files_in(text)
        more += files[1:]
        if files or not (text.lstrip().startswith("#") or (not paths and is_header(text))):
            paths[files[0] if files else unquoted(text)] = None
    paths.pop("", None)
    if not paths:
        raise DataError("input=-: the list on stdin is empty; expected one path a line, as from find photos -name '*.png'.")
    if more := [path for path in more if path not in paths]:
        log.warning("%d files of further columns are not segmented: %s. One path a line counts.", len(more), first_names(more))
    return list(paths)


def _files_in(text: str) -> list[str]:
    """The paths of those files that a line of a list can mean; one where all of the line is a path."""
    found: dict[Path, str] = {}
    for path in [text, *(() if text.lstrip().startswith("#") else readings(text))]:
        for spelt in (path, path.replace("\\", "/")):
            with suppress(OSError, RuntimeError):  # of a line that is too long for a name, or begins with ~ and no user
                given = Path(spelt).expanduser()
                if spelt and (file := existing(given)).is_file():
                    found.setdefault(file, spelt if file == given else str(file))
        if found and path in (text, unquoted(text)):
            break
    return list(found.values())


def _checked_base(base: Path, output: Path | None) -> Path:
    """The folder of the inputs, if results do not go there."""
    if output is not None and output.resolve() == base.resolve():
        raise ConfigurationError(
            f"output={output} is the folder of the images themselves; the next run would take the masks for images. "
            f"Choose another one, for example output={base / 'predictions'}"
        )
    return base


def _named(places: Sequence[tuple[Path, Path]]) -> list[Item]:
    """Files, each with its place in the tree; results keep the suffix in a folder where only that tells two apart (`a.png`, `a.jpg`)."""
    stems: dict[Path, Counter[str]] = defaultdict(Counter)
    for place in {place for _, place in places}:
        stems[place.parent][place.stem] += 1
    return [Item(file, place if max(stems[place.parent].values()) > 1 else place.with_suffix("")) for file, place in places]


def _listed(paths: Sequence[str]) -> list[tuple[Path, Path]]:
    """The files of a list, each at the place that its path names, so that several processes with parts of it can share an output folder."""
    if not paths:
        raise DataError("input=[]: the list is empty; give one path or more.")
    found = []
    for file in (Path(path).expanduser() for path in paths):
        place = Path(os.path.normpath(file))
        if place.parts[:1] == ("..",):  # one outside of the present folder has all its folders
            place = Path(os.path.abspath(file))  # noqa: PTH100 - `resolve` would follow links
        found.append((file, place.relative_to(place.anchor)))
    return found


def _below(folder: Path, output: Path | None) -> list[Path]:
    """The images of a folder at any depth, sorted."""
    files = [path for _, path in walk_files(folder, enter=partial(_is_input, folder, output, None))]
    images = [file for file in files if file.suffix.lower() in IMAGES]
    if not images:
        videos = sum(file.suffix.lower() in VIDEOS for file in files)
        raise DataError(
            f"input={folder}: no image in this folder or below it; found {len(files) - videos} other files and {videos} videos, which are"
            f" segmented one by one, input=FILE, or by a pattern. Images are files that end in {', '.join(IMAGES)}."
        )
    return _once(images, folder)


def _matching(pattern: Path, base: Path, output: Path | None) -> list[Path]:
    """The images and videos that a pattern matches, sorted."""
    parts = pattern.parts[len(base.parts) :]
    depth = None if "**" in parts else len(parts)
    walk = walk_files(base, enter=partial(_is_input, base, output, depth)) if base.is_dir() else ()
    found = [path for relative, path in walk if _fits(relative.split("/"), parts)]
    files = [file for file in found if file.suffix.lower() in IMAGES + VIDEOS and file.is_file()]
    if not files:
        raise DataError(
            f"input={pattern}: {len(found)} files match, none of which is an image or a video (looked from {base.absolute()})."
            f" They end in {', '.join(IMAGES + VIDEOS)}."
        )
    return _once(files, base)


def _is_input(base: Path, output: Path | None, depth: int | None, folder: Path, names: list[str]) -> bool:
    """Whether inputs lie in a folder at or below `base`, and less than `depth` below: none in hidden ones and in results of predictions."""
    if output is not None and os.path.realpath(output) == os.path.realpath(folder):
        return False
    below = folder.relative_to(base).parts
    return not below or not (below[-1].startswith(".") or RECORD in names or (depth is not None and len(below) >= depth))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, where `**` stands for any number of folders."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _once(files: Sequence[Path], base: Path) -> list[Path]:
    """Every file under one of its names, sorted."""
    kept = one_name_each({file: file_identity(file) for file in sorted(files)}, base)
    if again := [str(file) for file in files if file not in kept]:
        log.warning("%d files are links to others and are not segmented again: %s.", len(again), first_names(again))
    return sorted(kept)
