"""Which samples belong to a split: official lists as they are published, and the rules where there is no list."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pin_memory.domains.readers.layouts import Sample
from pin_memory.domains.readers.lists import index_samples, named_in, read_lines
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.names import composed, near_match

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

    A list names files by their stem: folders and suffixes in it do not matter, so that a list made for another tree fits; where several
    images have a stem, folders tell them apart. Further columns, such as the label's, quotation marks, comments and a header are no names.
    """
    path = find_list(split_file, split)
    index = index_samples(samples)
    named = named_in(_read_mat(path, split) if path.suffix == ".mat" else read_lines(path, split), index)
    if not named:
        raise DataError(f"{path}: expected a list of image names, found none.")
    several = [(name, found) for name, found in named if len(found) > 1]
    if unclear := [(name, found) for name, found in several if len({sample.image_identity for sample in found}) > 1]:
        images, full = zip(*((str(sample.image), sample.name) for sample in unclear[0][1]), strict=True)
        twin = near_match(full[0], full[1:]) if composed(full[0]) == composed(full[1]) else ""
        raise DataError(
            f"{title}: {len(unclear)} names in {path} could mean several images, such as {unclear[0][0]}: {first_names(images)}. "
            f"Write the names of samples, which say the folders, one a line: {first_names(full)}.{twin}"
        )
    if absent := [name for name, found in named if not found and name not in ignore_missing]:
        hints = "".join(dict.fromkeys(near_match(name, index) for name in absent[:3]))
        raise DataError(
            f"{title}: {len(absent)} of the {len(named)} names in {path} are not among the {len(samples)} samples found: "
            f"{first_names(absent)}.{hints} Get the missing files, or give a list without them with split_file=FILE."
        )
    return sorted({found[0].image: found[0] for _, found in named if found}.values(), key=lambda sample: sample.name)


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


def _read_mat(path: Path, split: str) -> list[str]:
    """Read the 1-based numbers of one of the lists in GTAV's split.mat."""
    from scipy.io import loadmat  # takes a while to import, and only this file needs it

    key = f"{split}Ids"
    try:
        numbers = [int(number) for number in np.asarray(loadmat(path, variable_names=[key])[key]).ravel()]
    except Exception as error:  # scipy raises many kinds for a damaged file, and what stands in it may be no number
        raise DataError(f"{path}: expected GTAV's split.mat with the list {key}; it cannot be read ({error}).") from error
    return [f"{number:0{_NUMBER_WIDTH}}" for number in numbers]
