"""How a user describes own data, as YAML gives it: folders or patterns of files, a class list, a table of ids, a table of colours."""

import colorsys
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pin_memory.domains.readers.label_maps import CodeTable, Colour
from pin_memory.domains.readers.layouts import SPLITS, Found, Layout
from pin_memory.domains.readers.real_files import file_identity, walk_files
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace, label_table
from pin_memory.utils.names import composed, existing, near_match

EVERY_SPLIT = "all"
"""Asks for the files of all splits."""

_FILES = {
    "images": r"\.(?i:png|jpe?g|bmp|tiff?|webp)",
    "labels": r"\.(?i:png|bmp|tiff?)",
    "polygons": r"\.(?i:json)",
}  # of a folder; a JPEG cannot hold labels
_WILDCARD = re.compile(r"(\*\*/|\*\*|\*)")
_GROUPS = {"**/": "((?:[^/]+/)*)", "**": "(.*)", "*": "([^/]*)"}
_IGNORED = 254  # raw id of colours that are listed as ignored
_GOLDEN = 0.618033988749895  # turns a number into a hue far from those of its neighbours


class Patterns(Layout):
    """A tree given by two folders or two patterns; what `*` and `**` stand for has to agree between image and label."""

    label_files: ClassVar[str] = "labels"  # what a folder of labels holds

    def find(self, root: Path, splits: Sequence[str]) -> Found | None:
        """List what the patterns match; None when no image does."""
        inner = self.split_folders(SPLITS if EVERY_SPLIT in splits else splits)
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for folder in inner:
            part_labels = matches(root, self.labels.replace("{split}", folder), self.label_files)
            part_images = matches(root, self.images.replace("{split}", folder), "images")
            if part_labels is None or part_images is None:
                continue
            # Frames of different splits may have the same name.
            start = f"{folder}/" if len(inner) > 1 else ""
            # In one folder, the images' pattern may match labels, too.
            images |= keyed({path: start + key for path, key in part_images.items() if path not in part_labels}, "images")
            labels |= keyed({path: start + key for path, key in part_labels.items()}, "labels")
        return Found(self, root, images, labels) if images else None


def refuse_together(ids: bool, palette: bool, annotations: bool, background: bool) -> None:
    """Refuse options of different kinds of labels, by which of them are given."""
    if palette and annotations:
        raise ConfigurationError(
            "FolderDomain: palette is for labels that are pictures, not for annotations; ids has the class of each name."
        )
    if background and not annotations:
        raise ConfigurationError("FolderDomain: background is for annotations, whose polygons leave pixels out; list raw ids in ids.")
    if ids and palette:
        raise ConfigurationError("FolderDomain: give ids for labels that hold ids or palette for labels that are colours, not both.")


def require_sound(images: str, labels: str, folders: Mapping[str, str], annotations: str | None = None) -> None:
    """Refuse patterns that could not pair image and label, and patterns or folders of splits that lead out of the root."""
    one_file = annotations in ("coco", "cvat")
    if one_file and "*" in labels:
        raise ConfigurationError(
            f"FolderDomain: annotations={annotations} is one file, or one for each {{split}}; labels={labels!r} has a *."
        )
    for pattern in (images, labels):
        if set("{}") & set(pattern.replace("{split}", "")) or not _is_below(pattern):
            raise ConfigurationError(
                f"FolderDomain: {pattern!r} is no folder or pattern below the root; *, ** and {{split}} may stand in it."
            )
    if ("{split}" in images) != ("{split}" in labels) and not one_file:
        raise ConfigurationError(f"FolderDomain: {{split}} has to be in both of images={images!r} and labels={labels!r}, or in neither.")
    if (images == labels and annotations is None) or (not one_file and len(_WILDCARD.findall(images)) != len(_WILDCARD.findall(labels))):
        raise ConfigurationError(
            f"FolderDomain: images={images!r} and labels={labels!r} cannot be paired: expected two different folders, or two different "
            "patterns with as many * each."
        )
    for split, folder in folders.items():
        if not isinstance(folder, str) or not _is_below(folder):
            raise ConfigurationError(f"FolderDomain: splits={{{split}: {folder!r}}} is no folder below the root.")


def _is_below(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts and "\0" not in path


def matches(root: Path, pattern: str, kind: str) -> dict[Path, str] | None:
    """The files of a folder or pattern, with what its wildcards stand for; None when the folder that it starts with is missing."""
    parts = Path(pattern).as_posix().split("/")
    fixed = next((place for place, part in enumerate(parts) if "*" in part), len(parts))
    folder = existing(root.joinpath(*parts[:fixed]))
    if not folder.is_dir():
        return None
    rest = "".join(_GROUPS.get(part) or re.escape(part) for part in _WILDCARD.split("/".join(parts[fixed:])))
    expression = re.compile(composed(rest) or "(.+)" + _FILES[kind])
    found = {}
    for relative, path in walk_files(folder):
        if match := expression.fullmatch(composed(relative)):
            found[path] = "/".join(part.strip("/") for part in match.groups() if part)
    return found


def keyed(files: Mapping[Path, str], kind: str) -> dict[str, Path]:
    """Turn the dictionary round; no key may have two files, though one may have two names (links)."""
    again = set(repeated(list(files.values())))
    own = {(key, file_identity(path)) for path, key in files.items() if key in again}
    if twice := repeated([key for key, _ in own]):
        names = first_names(str(path) for path in sorted(files) if files[path] == twice[0])
        raise DataError(
            f"FolderDomain: {kind} are ambiguous, {len(twice)} times; one of {names} has to go, or a pattern has to tell them apart."
        )
    return {key: path for path, key in files.items()}


def repeated(names: Sequence[str]) -> list[str]:
    """Those that come more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def label_space_of(
    classes: Sequence[str] | None, colours: Mapping[str, Sequence[int]] | None, palette: Mapping[Any, Any] | None
) -> LabelSpace:
    """What the train ids stand for, and the colours to show the classes in: those asked for, else those of `palette`, else generated."""
    if classes is None or tuple(classes) == CITYSCAPES.names:
        if colours:
            raise ConfigurationError("colours are for an own list of classes; the 19 Cityscapes classes have theirs.")
        return CITYSCAPES
    names = () if isinstance(classes, str) else tuple(classes)
    if not 1 <= len(names) <= IGNORE or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ConfigurationError(f"classes={classes}: expected 1..{IGNORE} different names (quote those that YAML reads otherwise).")
    shown = dict(enumerate(distinct_colours(len(names))))
    given = {train_id: colour for colour, train_id in reversed(colour_ids(palette, names).items()) if train_id != IGNORE} if palette else {}
    if unknown := [name for name in colours or {} if name not in names]:
        raise ConfigurationError(f"colours: {unknown[0]!r} is none of the classes {', '.join(names)}.")
    asked = {names.index(name): parse_colour(colour, "colours") for name, colour in (colours or {}).items()}
    chosen = np.array([train_id in given or train_id in asked for train_id in shown])
    return LabelSpace(names, np.array(list((shown | given | asked).values()), np.uint8), chosen)


def label_fields(
    ids: Mapping[Any, Any] | Sequence[Any] | None, palette: Mapping[Any, Any] | None, names: Sequence[str]
) -> tuple[dict[str, Any], CodeTable | None, Mapping[Any, int]]:
    """Fields of a `Layout` for labels that hold ids or colours, the decoder of colours to train ids, and the train id of each."""
    if palette is not None:
        train_ids = colour_ids(palette, names)
        # A colour that is listed as ignored is another matter than one that is not listed, which is decoded as 255.
        raw = {colour: _IGNORED if train == IGNORE else train for colour, train in train_ids.items()}
        # The statistics of a data set are kept by its encoding: another palette is another one.
        encoding = f"{len(train_ids)} colours ({zlib.crc32(repr(train_ids).encode()):08x})"
        table = label_table({train: train for train in train_ids.values()})
        return {"encoding": encoding, "table": table, "raw_ids": set(raw.values())}, CodeTable.of_colours(raw), train_ids
    if ids is None:
        ids = range(len(names))
    by_raw: dict[int, int] = {}
    for raw_id, value in ids.items() if isinstance(ids, Mapping) else enumerate(ids):
        number = int(raw_id) if str(raw_id).isdecimal() else -1
        if not 0 <= number <= 255:
            hint = " YAML reads yes, no, on and off as truth values and 7.0 as a fraction." if isinstance(raw_id, bool | float) else ""
            raise ConfigurationError(f"ids: {raw_id!r} is no raw label id; expected a whole number, 0..255.{hint}")
        if number in by_raw:
            raise ConfigurationError(f"ids: the raw id {number} comes twice, once as {raw_id!r}.")
        by_raw[number] = train_id_of(value, names, "ids")
    return {"encoding": "ids", "table": label_table(by_raw), "raw_ids": {IGNORE, *by_raw}}, None, by_raw


def values_of_classes(train_ids: Mapping[Any, int], names: Sequence[str], own_list: bool) -> dict[str, list[str]]:
    """The raw ids or colours of each class, as text, from their train ids; of an own class list also that a class has none."""
    values: dict[str, list[str]] = {name: [] for name in names if own_list}
    for value, train_id in train_ids.items():
        if train_id != IGNORE:
            values.setdefault(names[train_id], []).append(str(value).strip("()"))
    return values


def colour_ids(palette: Mapping[Any, Any], names: Sequence[str]) -> dict[Colour, int]:
    """The train id of each colour of the labels, a colour as "128, 64, 128" or (128, 64, 128)."""
    ids: dict[Colour, int] = {}
    for key, value in palette.items():
        colour = parse_colour(key, "palette")
        if colour in ids:
            raise ConfigurationError(f"palette: the colour {key} comes twice.")
        ids[colour] = train_id_of(value, names, "palette")
    return ids


def train_id_of(value: Any, names: Sequence[str], where: str) -> int:
    """The train id of a class name, a train id or "ignore" (also null and 255)."""
    if value is None or value == "ignore" or (type(value) is int and value == IGNORE):
        return IGNORE
    if isinstance(value, str) and composed(value) in (spelt := [composed(name) for name in names]):
        return spelt.index(composed(value))
    if type(value) is int and 0 <= value < len(names):
        return value
    raise ConfigurationError(
        f"{where}: {value!r} is no class; expected one of {', '.join(names)}, a train id 0..{len(names) - 1}, or ignore."
        + near_match(str(value), names)
    )


def parse_colour(value: str | Iterable[int], where: str) -> Colour:
    """Read red, green and blue, each 0..255, from a list or from text such as "128, 64, 128"."""
    parts = value.replace(",", " ").split() if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []
    if len(parts) != 3 or not all(str(part).isdecimal() and int(part) <= 255 for part in parts):
        raise ConfigurationError(f'{where}: {value!r} is no colour; expected red, green and blue, each 0..255, such as "128, 64, 128".')
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def distinct_colours(count: int) -> list[Colour]:
    """Colours that differ well from one another, always the same ones."""
    colours = []
    for number in range(count):
        # Neighbours differ in hue; every few numbers, brightness and saturation differ, too. The steps keep 19 colours well apart.
        shade = colorsys.hsv_to_rgb(number * _GOLDEN % 1, (1.0, 0.5)[number // 10 % 2], (1.0, 0.7, 0.45)[number // 4 % 3])
        red, green, blue = (round(255 * part) for part in shade)
        colours.append((red, green, blue))
    return colours
