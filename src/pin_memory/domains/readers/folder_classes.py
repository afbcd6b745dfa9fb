"""The classes of a user's own data, as YAML gives them: a class list, a table of ids, a table of colours."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pin_memory.domains.readers.label_codes import Colour
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace, label_table

_GOLDEN = 0.618033988749895  # turns a number into a hue far from those of its neighbours


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
    return LabelSpace(names, np.array(list((shown | given | asked).values()), np.uint8))


def id_table(ids: Mapping[Any, Any] | Sequence[Any] | None, names: Sequence[str]) -> np.ndarray:
    """The train id of each raw label id, (256,) uint8, from class names or train ids by raw id; what is not listed is ignored."""
    if ids is None:
        return label_table(list(range(len(names))))
    table = {}
    for raw, value in ids.items() if isinstance(ids, Mapping) else enumerate(ids):
        number = int(raw) if str(raw).isdecimal() else -1
        if not 0 <= number <= 255:
            raise ConfigurationError(f"ids: {raw!r} is no raw label id; expected 0..255.")
        table[number] = train_id_of(value, names, "ids")
    return label_table(table)


def raw_ids_of(ids: Mapping[Any, Any] | Sequence[Any] | None, names: Sequence[str]) -> set[int]:
    """The raw ids that `ids` lists, or the train ids without it, and 255."""
    listed = range(len(names)) if ids is None else ids if isinstance(ids, Mapping) else range(len(ids))
    return {IGNORE, *(int(raw) for raw in listed)}


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
    if isinstance(value, str) and value in names:
        return list(names).index(value)
    if type(value) is int and 0 <= value < len(names):
        return value
    raise ConfigurationError(
        f"{where}: {value!r} is no class; expected one of {', '.join(names)}, a train id 0..{len(names) - 1}, or ignore."
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
