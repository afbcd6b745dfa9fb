"""Lists of names as tools write them: which samples a line means."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pin_memory.domains.readers.layouts import Sample
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import read_text
from pin_memory.utils.names import SEPARATED, columns, composed, is_header, lines_of, readings, unquoted

# Only suffixes of files that a list can name: what stands behind another dot is part of a name.
_SUFFIX_PATTERN = r"\.(?:png|jpe?g|bmp|tiff?|webp|gif|ppm|jp2|avif|json|xml|txt|npy|npz|mat)"
_SUFFIX = re.compile(_SUFFIX_PATTERN + "$", re.IGNORECASE)
_COLUMN = "split"
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_WORDS = {word for words in _SPLITS.values() for word in words}

Index = Mapping[str, Sequence[Sample]]
"""Samples by each name that a list may give them; several where a name could mean several."""


def index_samples(samples: Sequence[Sample]) -> Index:
    """Index samples by what a list may call them: the stem of the image, its name, or the stem of the label.

    Where several images have a stem, ends of their paths are names as well, as folders tell the images apart.
    """
    by_name: dict[str, list[Sample]] = {}
    by_label: dict[str, list[Sample]] = {}
    stems = Counter(sample.image.stem for sample in samples)
    for sample in samples:
        # Cityscapes-like lists name the frame without what the image's name ends in.
        names = {sample.image.stem, sample.name}
        if stems[sample.image.stem] > 1:
            names |= set(_ends(sample.image.with_suffix("").as_posix(), "/"))
        for name in {composed(name) for name in names}:
            by_name.setdefault(name, []).append(sample)
        by_label.setdefault(composed(sample.label.stem), []).append(sample)
    return by_label | by_name


def read_lines(path: Path, split: str) -> list[str]:
    """The lines of a text file, each once and no empty one; of a table with a column of splits, those of one split."""
    try:
        found = lines_of(read_text(path), _SPLITS[split])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a text file with an image name on each line, but it cannot be read ({error})") from error
    lines = list(dict.fromkeys(line.strip() for line in found if line.strip()))
    lines = lines[1:] if lines and re.fullmatch("sep=.", lines[0]) else lines  # what spreadsheets put above a table
    headed = bool(lines) and is_header(lines[0])
    rows = lines[headed:]
    is_table = rows and (headed or SEPARATED.search(rows[0])) and all(_WORDS.intersection(columns(row.lower())[1:]) for row in rows)
    if is_table or (headed and _COLUMN in lines[0].lower()):
        return [row for row in rows if any(column in _SPLITS[split] for column in columns(row.lower()))]
    return lines


def named_in(lines: Sequence[str], index: Index) -> list[tuple[str, Sequence[Sample]]]:
    """Name and samples of each line but comments and names of columns at the top: none if it is absent, several if it is unclear."""
    named: list[tuple[str, Sequence[Sample]]] = []
    for line in lines:
        if line.startswith("#") and not _find(unquoted(line), index):
            continue
        name, found = _named(line, index)
        if found or named or not is_header(line):
            named.append((name, found))
    return named


def _named(line: str, index: Index) -> tuple[str, Sequence[Sample]]:
    """The name in a line, and its samples: one, unless columns (such as image and label) disagree."""
    text = unquoted(line)
    is_one_path = not re.search(rf"{_SUFFIX_PATTERN}[\s;,]", text, re.IGNORECASE) and sum("/" in part for part in text.split()) < 2
    if is_one_path and (found := _find(text, index)):
        return _stem(text), found
    line = re.split(r"\s#(?!\S)", line, maxsplit=1)[0]
    hits = [(text, found) for text in dict.fromkeys(readings(line)) if (found := _find(text, index))]
    hits = [hit for hit in hits if _SUFFIX.search(hit[0]) or "/" in hit[0]] or hits  # the number of a row can look like a name
    hits = [hit for hit in hits if len(hit[1]) == 1] or hits
    samples = {sample.image: sample for _, found in hits for sample in found}
    name = " or ".join(dict.fromkeys(_stem(text) for text, _ in hits)) or _absent_name(line)
    return name, list(samples.values())


def _absent_name(line: str) -> str:
    """What a line seems to name: its first file, else its first column, or all of it where there are blanks alone between them."""
    parts = columns(line) or [line]
    if SEPARATED.search(line):
        return _stem(next((text for text in parts if _SUFFIX.search(text)), parts[0]))
    first = re.match(rf".*?{_SUFFIX_PATTERN}(?=$|\s)", line, re.IGNORECASE)
    return _stem(unquoted(first[0] if first else " ".join(parts)))


def _find(text: str, index: Index) -> Sequence[Sample]:
    """The samples that a path or name can mean: one by its longest end that names one, else those of its last part."""
    path = composed(text).replace("\\", "/").rstrip("/")
    found: Sequence[Sample] = ()
    for name in dict.fromkeys((_SUFFIX.sub("", path), path)):
        ends = [*_ends(name, "/"), name.rpartition("/")[2]]
        found = found or next((index[end] for end in ends if end in index), ())
        if len(found) > 1:
            found = next((index[end] for end in _ends(name, "_") if len(index.get(end, ())) == 1), found)
    return found


def _stem(text: str) -> str:
    """The name in a path, for messages."""
    name = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _SUFFIX.sub("", name) or name


def _ends(path: str, sign: str) -> Iterator[str]:
    """The ends of a path with one folder or more, longest first, joined by a sign."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return (sign.join(parts[place:]) for place in range(len(parts) - 1))
