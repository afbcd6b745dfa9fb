"""Pictures of segmentations and of matrices, and how they are put together: captions, grids, legends, panels.

Pictures are uint8 RGB (H, W, 3) and masks are train ids (H, W), 0..K-1 or 255, everywhere in this module.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace

WRONG = (0, 235, 255)  # colour of wrong pixels: a cyan that no class comes near
INK, PAPER = (20, 20, 20), (255, 255, 255)
STRIPES = ((0, 0, 0), (48, 48, 48))
_NEGATIVE, _ZERO, _POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)  # of ColorBrewer's RdBu: safe for colour-blind eyes
_GAP = 8
_LEGEND_WIDTH = 400  # at least
_TILE_WIDTH, _TILE_HEIGHT = 800, 640  # of a panel, at most
_SMALL_WIDTH, _SMALL_HEIGHT = 300, 225  # of a row of an overview, at most


def palette(space: LabelSpace) -> np.ndarray:
    """The colour of each train id, (256, 3) uint8; black where there is no class."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(space)] = space.palette
    return table


def colorize(mask: np.ndarray, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Paint train ids in the colours of their classes; ignored pixels become black."""
    return palette(space)[mask]


def overlay(rgb: np.ndarray, mask: np.ndarray, alpha: float = 0.5, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Lay the class colours over a picture with an opacity of 0..1; ignored pixels show the picture alone."""
    opacity = np.where(mask == IGNORE, 0.0, alpha)[..., None].astype(np.float32)
    return (rgb + opacity * (colorize(mask, space).astype(np.float32) - rgb)).round().astype(np.uint8)


def hatch(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Cover the pixels that `where` (H, W) selects with dark stripes, since plain ones could pass for a class."""
    rows, columns = np.indices(where.shape)
    return np.where(where[..., None], np.array(STRIPES, np.uint8)[(rows + columns) // 6 % 2], picture)


def difference(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Show right pixels in grey, wrong ones in `WRONG`, and those that are not evaluated dark and hatched."""
    picture = np.repeat(70 + 0.4 * rgb.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    picture[truth != prediction] = WRONG
    return hatch(picture, truth == IGNORE)


def wrong_share(truth: np.ndarray, prediction: np.ndarray) -> float | None:
    """The share of the evaluated pixels that are wrong, 0..1; None where none is evaluated."""
    evaluated = truth != IGNORE
    return float(np.mean(truth[evaluated] != prediction[evaluated])) if evaluated.any() else None


def size_within(picture: np.ndarray, width: int, height: int, enlarge: bool = False) -> tuple[int, int]:
    """Width and height of the same shape within a box; a small picture keeps its size unless it is enlarged."""
    scale = min(width / picture.shape[1], height / picture.shape[0], np.inf if enlarge else 1.0)
    return max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture, or a mask (H, W) without inventing train ids, to `size`, width and height."""
    if picture.ndim == 2:
        return np.asarray(Image.fromarray(picture.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def text_line(text: str, width: int, size: int = 16) -> np.ndarray:
    """One line of text, cut at the end of the width."""
    line = Image.new("RGB", (width, size + 12), PAPER)
    ImageDraw.Draw(line).text((2, (size + 12) / 2), text, fill=INK, font=ImageFont.load_default(size), anchor="lm")
    return np.asarray(line)


def caption(tile: np.ndarray, text: str, size: int = 16) -> np.ndarray:
    """A tile with a line of text above it."""
    return np.concatenate([text_line(text, tile.shape[1], size), tile])


def side_by_side(tiles: Sequence[np.ndarray], gap: int = _GAP) -> np.ndarray:
    """Tiles side by side, aligned at the top."""
    height = max(tile.shape[0] for tile in tiles)
    return np.concatenate([_padded(tile, below=height - len(tile), left=gap if place else 0) for place, tile in enumerate(tiles)], axis=1)


def grid(tiles: Sequence[np.ndarray], columns: int, gap: int = _GAP) -> np.ndarray:
    """Tiles row by row, in columns of one width."""
    width = max(tile.shape[1] for tile in tiles)
    cells = [_padded(tile, right=width - tile.shape[1]) for tile in tiles]
    cells += [np.full((1, width, 3), PAPER, np.uint8)] * (-len(cells) % columns)
    rows = [side_by_side(cells[start : start + columns], gap) for start in range(0, len(cells), columns)]
    return np.concatenate([_padded(row, above=gap if place else 0) for place, row in enumerate(rows)])


def framed(picture: np.ndarray) -> np.ndarray:
    """A picture with a margin around it."""
    return _padded(picture, _GAP, _GAP, _GAP, _GAP)


def _padded(picture: np.ndarray, above: int = 0, below: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    return np.pad(picture, ((above, below), (left, right), (0, 0)), constant_values=255)


def legend(
    present: Iterable[int] | np.ndarray,
    width: int,
    font_size: int = 16,
    extra: Sequence[tuple[str, tuple[int, int, int]]] = (),
    space: LabelSpace = CITYSCAPES,
) -> np.ndarray:
    """Draw a strip of colour patches with the names of the classes that are present, then of `extra`, in as many rows as they need."""
    ids = sorted({int(index) for index in present if index < len(space)})
    entries = [*((space.names[index], tuple(space.palette[index].tolist())) for index in ids), *extra]
    font = ImageFont.load_default(font_size)
    row_height, margin = font_size + 10, font_size // 2
    cell = max((int(font.getlength(name)) + 2 * font_size + 6 for name, _ in entries), default=1)
    columns = max(1, (width - margin) // cell)
    strip = Image.new("RGB", (width, -(-len(entries) // columns) * row_height + margin), PAPER)
    draw = ImageDraw.Draw(strip)
    for number, (name, color) in enumerate(entries):
        x, y = margin + number % columns * cell, margin // 2 + number // columns * row_height + 4
        draw.rectangle((x, y, x + font_size, y + font_size), fill=color, outline=INK)
        draw.text((x + font_size + 6, y + font_size / 2), name, fill=INK, font=font, anchor="lm")
    return np.asarray(strip)


def with_legend(picture: np.ndarray, mask: np.ndarray, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Put the legend of a mask below a picture; a picture too narrow for one is enlarged by an integer factor first."""
    factor = -(-_LEGEND_WIDTH // picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    strip = legend(np.unique(mask), picture.shape[1], font_size=max(14, picture.shape[1] // 60), space=space)
    return np.concatenate([picture, strip])


def panel(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray, title: str, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Draw image, ground truth, prediction and where they differ as four tiles with captions and a legend.

    Small images are enlarged and large ones are shrunk, so that a panel is always readable and never huge; the image may be of another
    size than the masks.
    """
    wrong = wrong_share(truth, prediction) or 0.0
    size = size_within(truth, min(max(truth.shape[1], _LEGEND_WIDTH), _TILE_WIDTH), _TILE_HEIGHT, enlarge=True)
    rgb, truth, prediction = (resize(picture, size) for picture in (rgb, truth, prediction))
    tiles = [
        caption(rgb, "image"),
        caption(hatch(colorize(truth, space), truth == IGNORE), "ground truth"),
        caption(colorize(prediction, space), "prediction"),
        caption(difference(rgb, truth, prediction), f"differences: {100 * wrong:.1f} % of the evaluated pixels"),
    ]
    body = grid(tiles, columns=2)
    present = np.union1d(truth, prediction)
    strip = legend(present, body.shape[1], extra=[("wrong", WRONG), ("not evaluated", STRIPES[1])], space=space)
    return framed(np.concatenate([text_line(title, body.shape[1], 20), body, strip]))


def overview_row(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray, title: str, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Draw a small image, its ground truth and the prediction side by side below a caption; the image may be of another size."""
    size = size_within(truth, _SMALL_WIDTH, _SMALL_HEIGHT, enlarge=True)
    wrong = wrong_share(truth, prediction) or 0.0
    rgb, truth, prediction = (resize(picture, size) for picture in (rgb, truth, prediction))
    row = side_by_side([rgb, hatch(colorize(truth, space), truth == IGNORE), colorize(prediction, space)], gap=2)
    return caption(row, f"{title}: {100 * wrong:.1f} % wrong")


def overview(rows: Sequence[np.ndarray], present: Iterable[int], space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Put rows of `overview_row` into two columns, with a legend of the train ids that are present."""
    body = grid(rows, columns=min(2, len(rows)))
    head = text_line("image, ground truth, prediction", body.shape[1], 20)
    return framed(np.concatenate([head, body, legend(present, body.shape[1], extra=[("not evaluated", STRIPES[1])], space=space)]))


def shade(values: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 of values (...) from blue (-1) over white (0) to red (1); grey where a value is NaN."""
    strength = np.abs(np.nan_to_num(values))[..., None]
    end = np.where(values[..., None] < 0, np.array(_NEGATIVE, float), np.array(_POSITIVE, float))
    colours = np.array(_ZERO) + strength * (end - np.array(_ZERO))
    return np.where(np.isnan(values)[..., None], 150, colours.round()).astype(np.uint8)


def heat_map(values: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    """Draw a matrix (K, K) of values in -1..1 with the K names at both sides and a scale."""
    size, cell = 13, 22
    font = ImageFont.load_default(size)
    margin, head, side = 12 + max(int(font.getlength(name)) for name in names), size + 20, cell * len(names)
    labels = Image.new("RGB", (margin, side), PAPER)
    for index, name in enumerate(names):
        ImageDraw.Draw(labels).text((margin - 6, cell * (index + 0.5)), name, fill=INK, font=font, anchor="rm")
    picture = Image.new("RGB", (margin + side + 74, head + side + margin), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((8, head / 2), title, fill=INK, font=font, anchor="lm")
    picture.paste(labels, (0, head))
    picture.paste(labels.transpose(Image.Transpose.ROTATE_90), (margin, head + side))
    picture.paste(Image.fromarray(shade(values)).resize((side, side), Image.Resampling.NEAREST), (margin, head))
    left = margin + side + 16
    picture.paste(Image.fromarray(shade(np.linspace(1, -1, side))[:, None].repeat(14, axis=1)), (left, head))
    for value in (1, 0, -1):
        draw.text((left + 20, head + (1 - value) / 2 * (side - 1)), f"{value}", fill=INK, font=font, anchor="lm")
    return np.asarray(picture)


def write_image(path: str | Path, image: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Write a picture (H, W, 3) or an 8-bit mask (H, W), completely or not at all, in the format that the suffix names.

    A mask with `colours` (256, 3), as `palette` returns them, shows them and keeps its train ids.
    """
    path = Path(path)
    form = Image.registered_extensions().get(path.suffix.lower())
    if form not in Image.SAVE:
        raise OutputError(f"Cannot write the picture {path}: no picture format is known by the suffix {path.suffix!r}. Use .png or .jpg.")
    picture = Image.fromarray(image)
    if colours is not None:
        picture.putpalette(colours.tobytes())
    # 4:4:4, since halved colour resolution smears the thin classes of a mask.
    options = {"quality": 85, "subsampling": 0} if form == "JPEG" else {}
    picture.save(buffer := BytesIO(), form, **options)
    with report_write_errors(path, "the picture "), atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())  # Pillow itself would not notice a JPEG that a full disk cuts short
