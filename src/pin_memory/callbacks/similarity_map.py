"""How alike the memory items are: cosine similarity of each pair of classes, as numbers and as a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_NEGATIVE, _ZERO, _POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)  # ends of ColorBrewer's RdBu: told apart by colour-blind eyes
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_FONT_SIZE, _CELL = 13, 22


def similarity(items: np.ndarray) -> np.ndarray:
    """Cosine similarity of the items; NaN in the row and column of an item that is still zero.

    Args:
        items: Memory items (..., K, C).

    Returns:
        (..., K, K) float64 in -1..1.
    """
    values = np.asarray(items, np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    unit = np.divide(values, norms, out=np.full_like(values, np.nan), where=norms > 0)
    return (unit @ np.swapaxes(unit, -1, -2)).clip(-1, 1)


def mean_similarity(pairs: np.ndarray) -> np.ndarray:
    """Mean over the pairs of different classes, NaN where there is none.

    Args:
        pairs: What `similarity` returned, (..., K, K).

    Returns:
        (...,) float64.
    """
    known = ~np.isnan(pairs) & ~np.eye(pairs.shape[-1], dtype=bool)
    count = known.sum(axis=(-2, -1))
    total = np.where(known, pairs, 0).sum(axis=(-2, -1))
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def shade(values: np.ndarray) -> np.ndarray:
    """Colours from blue (-1) over white (0) to red (1); grey where there is no value.

    Args:
        values: (...) in -1..1, or NaN.

    Returns:
        (..., 3) uint8.
    """
    strength = np.abs(np.nan_to_num(values))[..., None]
    end = np.where(values[..., None] < 0, np.array(_NEGATIVE, float), np.array(_POSITIVE, float))
    colours = np.array(_ZERO) + strength * (end - np.array(_ZERO))
    return np.where(np.isnan(values)[..., None], 150, colours.round()).astype(np.uint8)


def similarity_picture(pairs: np.ndarray, names: Sequence[str], title: str = "") -> np.ndarray:
    """Draw the similarities with the names of the classes at both sides and a scale.

    Args:
        pairs: What `similarity` returned, (K, K).
        names: Names of the K classes.
        title: Line above the map.

    Returns:
        Image (H, W, 3) uint8.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    margin = 12 + max(int(font.getlength(name)) for name in names)
    side, head, scale = _CELL * len(names), _FONT_SIZE + 20, 74
    picture = Image.new("RGB", (margin + side + scale, head + side + margin), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((8, head / 2), title, fill=_INK, font=font, anchor="lm")
    cells = Image.fromarray(shade(pairs)).resize((side, side), Image.Resampling.NEAREST)
    picture.paste(cells, (margin, head))
    for index, name in enumerate(names):
        draw.text((margin - 6, head + _CELL * (index + 0.5)), name, fill=_INK, font=font, anchor="rm")
    picture.paste(_turned(names, font, side, margin), (margin, head + side))
    _draw_scale(picture, draw, font, (margin + side + 16, head, side))
    return np.asarray(picture)


def _turned(names: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, side: int, height: int) -> Image.Image:
    """The names below the columns, read from below."""
    strip = Image.new("RGB", (height, side), _PAPER)
    draw = ImageDraw.Draw(strip)
    for index, name in enumerate(names):
        draw.text((height - 6, _CELL * (index + 0.5)), name, fill=_INK, font=font, anchor="rm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def _draw_scale(
    picture: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, place: tuple[int, int, int]
) -> None:
    """A strip of all colours with its ends and its middle named; `place` is left, top and height."""
    left, top, height = place
    strip = shade(np.linspace(1, -1, height))[:, None].repeat(14, axis=1)
    picture.paste(Image.fromarray(strip), (left, top))
    for value in (1, 0, -1):
        draw.text((left + 20, top + (1 - value) / 2 * (height - 1)), f"{value}", fill=_INK, font=font, anchor="lm")
