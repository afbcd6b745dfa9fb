"""Names of files as lists and people write them: the columns of a line, and which name nearly is another one."""

import difflib
import glob
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pin_memory.utils.errors import DataError

_HEADER = re.compile(r"((image|img|photo|frame|sample|file|name|path|stem|id|index|split|label|mask|class)s?[ _-]?)+", re.IGNORECASE)
SEPARATED = re.compile(r"[\t;,|]")
"""Signs that separate columns, where blanks may be part of them."""
_FLAGS = ("1", "0", "-1")  # of a class in an image, as VOC's lists have them behind the name
_JSON = re.compile(r"""[\[{]\s*["'\[{]""")  # names of files may begin with a bracket
_NUMBER = re.compile(r"\d+")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def composed(text: str) -> str:
    """The text in Unicode's form NFC: a letter with an accent is one character, whichever system has written it."""
    return unicodedata.normalize("NFC", text)


def existing(path: Path) -> Path:
    """The path as the file system writes it, where only the composition of its letters differs; else the path as it is."""
    try:
        if str(path).isascii() or path.exists() or path.parent == path:
            return path
        return next((entry for entry in existing(path.parent).iterdir() if composed(entry.name) == composed(path.name)), path)
    except OSError:
        return path


def lines_of(text: str, keys: Collection[str] = ()) -> Sequence[str]:
    """The lines of a list of names; of JSON the names in it, or those below the first of the keys. ValueError: it is other JSON."""
    text = text.strip()
    if not _JSON.match(text) or text[-1] not in "]}":
        return text.splitlines()
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        names = next((found[key] for key in keys if key in found), None) if isinstance(found, dict) else found
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    raise ValueError("brackets around something else than a JSON list of names")


def unquoted(text: str) -> str:
    """The text without blanks around it, nor quotation marks."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def columns(line: str) -> list[str]:
    """The columns of a line, without empty ones and flags of a class.

    They are separated by tabs, semicolons, commas, bars or blanks, the first of these that the line has; quotation marks hold them.
    """
    found = [unquoted(text) for text in re.findall(rf"""\s*"[^"]*"|\s*'[^']*'|[^{_delimiter(line)}]+""", line)]
    return [text for place, text in enumerate(found) if text and not (place and text in _FLAGS)]


def _delimiter(line: str) -> str:
    return next((sign for sign in "\t;,|" if sign in line), " ")


def readings(line: str) -> Iterator[str]:
    """The names that a line of a list may give, most certain first: all of it, its first columns as one, each of its columns."""
    yield unquoted(line)
    parts = columns(line)
    yield from (_delimiter(line).join(parts[:count]) for count in range(len(parts), 1, -1))
    yield from parts


def is_header(line: str) -> bool:
    """Whether a line can only be the names of columns, such as "image,label"."""
    parts = columns(line)
    return bool(parts) and _HEADER.fullmatch(parts[0]) is not None and all(re.fullmatch(r"(?:[^\W\d]|[ -])+", text) for text in parts)


def path_or_pattern(setting: str, source: str | Path) -> Path:
    """The file, folder or pattern of files that a setting names.

    Raises:
        DataError: It is none of them.
    """
    path = existing(Path(source).expanduser())
    if path.exists() or glob.has_magic(str(path)):
        return path
    near = near_match(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""
    raise DataError(
        f"{setting}={source}: no such file or folder (looked for {path.absolute()}).{near}"
        " Give an image, a video, a folder of images, a pattern such as 'photos/*/front/*.png', or - for a list of paths on stdin."
    )


def near_match(name: str, known: Collection[str]) -> str:
    """Say in a sentence which of the known names nearly is `name`, and how the two differ; empty where none is near."""
    loose = _loose(name)
    near = next((other for other in known if _loose(other) == loose), None)
    near = near or next((other for other in known if _looks_like(name, other)), None)
    if near is None:
        numbers = _NUMBER.findall(loose)  # another number is another name
        alike = [other for other in known if _NUMBER.findall(_loose(other)) == numbers]
        near = next(iter(difflib.get_close_matches(name, alike, 1, 0.8)), None)
    return "" if near is None else f" {name!r} is nearly {near!r}{_difference(name, near)}."


def _looks_like(one: str, other: str) -> bool:
    """Whether two names may look the same: letters of other scripts in a few places, or one continues the other (`a_mask`, `a.b`)."""
    differing = [a + b for a, b in zip(one, other, strict=False) if a != b]
    same_length = len(one) == len(other) and 2 * len(differing) <= len(one)
    shorter, longer = sorted((one, other), key=len)
    continues = longer.startswith(shorter) and not longer[len(shorter) :][:1].isalnum()
    return (same_length and not any(pair.isascii() for pair in differing)) or continues


def _loose(text: str) -> str:
    """What is left of a name without invisible characters, case, accents' composition, kinds of blanks and zeros in front of numbers."""
    visible = "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")
    return _ZEROS.sub("", re.sub(r"[\s_\-\u2010-\u2015]+", " ", visible).strip().casefold())


def _difference(one: str, other: str) -> str:
    """How two names differ that look much the same; empty where it can be seen."""
    if composed(one) == composed(other):
        return ", which is composed of other Unicode characters"
    if one.casefold() == other.casefold():
        return ": upper and lower case differ"
    place = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    signs = (one[place : place + 1], other[place : place + 1])
    if "".join(signs).isascii():
        return ""
    mine, its = (f"{unicodedata.name(sign, 'a character')} (U+{ord(sign):04X})" if sign else "nothing" for sign in signs)
    return f": it has {mine} where the other has {its}"
