"""Which samples belong to a split: official lists as they are published, and the rules where there is no list."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pin_memory.domains.readers.layouts import Sample
from pin_memory.domains.readers.real_files import identity
from pin_memory.utils.errors import ConfigurationError, DataError, first_names

T = TypeVar("T")

SplitFile = str | Path | Mapping[str, str | Path]
"""One list per split: a pattern with "{split}", the file of one split next to those of the others, a mapping, or GTAV's split.mat."""

_NUMBER_WIDTH = 5  # of GTAV's file names
_SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|test)(?![a-z])")


def split_last_fifth(samples: list[Sample], split: str) -> list[Sample]:
    """Split data without an official list: the last fifth, sorted by name, is "val" and "test", the rest "train"."""
    held_out = max(1, len(samples) // 5)
    return samples[:-held_out] if split == "train" else samples[-held_out:]


def last_fifth_or_all(samples: list[Sample], split: str) -> list[Sample]:
    """Split a source as `split_last_fifth` does, but evaluate a target ("test") on all samples."""
    return samples if split == "test" else split_last_fifth(samples, split)


def evenly_spaced(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` items, evenly spaced from the first to the last; all of them when `limit` is None."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, limit)]


def listed(
    samples: list[Sample], split_file: SplitFile, split: str, title: str, ignore_missing: Collection[str] = frozenset()
) -> list[Sample]:
    """The samples that the list of a split names, sorted by name; names in `ignore_missing` may be listed without being there.

    A list names files by their stem: folders and suffixes in it do not matter, so that a list made for another tree fits.
    """
    path = find_list(split_file, split)
    names = read_names(path, split)
    by_stem: dict[str, list[Sample]] = {}
    for sample in samples:
        # Cityscapes-like lists name the frame without what the image's name ends in.
        for name in {sample.image.stem, sample.name}:
            by_stem.setdefault(name, []).append(sample)
    several = [name for name in names if len(by_stem.get(name, [])) > 1]
    if unclear := [name for name in several if len({identity(sample.image) for sample in by_stem[name]}) > 1]:
        images, full = zip(*((str(sample.image), sample.name) for sample in by_stem[unclear[0]]), strict=True)
        raise DataError(
            f"{title}: {len(unclear)} names in {path} could mean several images, such as {unclear[0]}: {first_names(images)}. "
            f"Write the names of samples, which say the folders, too: {first_names(full)}."
        )
    if absent := [name for name in names if name not in by_stem and name not in ignore_missing]:
        raise DataError(
            f"{title}: {len(absent)} of the {len(names)} names in {path} are not among the {len(samples)} samples found: "
            f"{first_names(absent)}. Get the missing files, or give a list without them with split_file=FILE."
        )
    return sorted((by_stem[name][0] for name in dict.fromkeys(names) if name in by_stem), key=lambda sample: sample.name)


def find_list(split_file: SplitFile, split: str) -> Path:
    """The file that lists a split."""
    if isinstance(split_file, Mapping):
        if split not in split_file:
            raise ConfigurationError(f"split_file gives lists for {', '.join(split_file)}; it needs one for {split!r}, too.")
        path = Path(split_file[split])
    else:
        path = Path(str(split_file).replace("{split}", split))
        if path.suffix != ".mat" and "{split}" not in str(split_file):
            if not _SPLIT_IN_NAME.search(path.stem):
                raise ConfigurationError(
                    f"split_file={split_file}: cannot tell which split it lists. Write {{split}} for the name of the split, as in"
                    " gtav_split_{split}.txt, or give one file each: {train: FILE, val: FILE}."
                )
            path = path.with_name(_SPLIT_IN_NAME.sub(split, path.stem) + path.suffix)
    path = path.expanduser()
    if not path.is_file():
        raise DataError(f"split_file={split_file}: there is no list of the split {split!r} at {path}.")
    return path


def read_names(path: Path, split: str) -> list[str]:
    """The stems that a list names: a text file with an image on each line (of a pair, the first counts), or GTAV's split.mat."""
    if path.suffix == ".mat":
        names = _read_mat(path, split)
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: expected a text file with an image name on each line, but it cannot be read ({error}).") from error
        first = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
        names = [Path(name.replace("\\", "/")).stem for name in first]
    if not names:
        raise DataError(f"{path}: expected a list of image names, found none.")
    return names


def _read_mat(path: Path, split: str) -> list[str]:
    """Read the 1-based numbers of one of the lists in GTAV's split.mat."""
    from scipy.io import loadmat  # takes a while to import, and only this file needs it

    key = f"{split}Ids"
    try:
        numbers = [int(number) for number in np.asarray(loadmat(path, variable_names=[key])[key]).ravel()]
    except Exception as error:  # scipy raises many kinds for a damaged file, and what stands in it may be no number
        raise DataError(f"{path}: expected GTAV's split.mat with the list {key}; it cannot be read ({error}).") from error
    return [f"{number:0{_NUMBER_WIDTH}}" for number in numbers]
