"""Contact sheets: some pairs of a data set as the reader decodes them, the labels laid over the images."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import Sample
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE, LabelSpace
from pin_memory.utils.pictures import legend, overlay, write_image

_PAIRS, _COLUMNS = 8, 2  # pairs on a sheet, and beside each other
_TILE = (460, 300)  # largest width and height of a picture
_GAP, _LINE = 8, 22  # between tiles, and height of a caption
_INK, _PAPER, _HATCH = (20, 20, 20), (255, 255, 255), (40, 40, 40)


def write_sheet(path: Path, name: str, splits: list[Domain]) -> None:
    """Write a contact sheet of a data set.

    Args:
        path: The .jpg or .png file to write.
        name: What the data set is called in the configuration.
        splits: Its opened splits; each gets its share of the pairs, evenly spaced.

    Raises:
        OutputError: The file cannot be written.
    """
    tiles: list[np.ndarray] = []
    present: set[int] = set()
    for place, domain in enumerate(splits):
        count = _PAIRS // len(splits) + (place < _PAIRS % len(splits))
        for sample in (domain.samples[index] for index in evenly_spaced(range(len(domain)), count)):
            tile, classes = _pair(domain, sample)
            tiles.append(tile)
            present |= classes
    title = f"{name}: {splits[0].title}, {splits[0].layout.name}, labels: {splits[0].layout.encoding}"
    write_image(path, _sheet(title, tiles, present, splits[0].label_space))


def _pair(domain: Domain, sample: Sample) -> tuple[np.ndarray, set[int]]:
    """Image and labelled image side by side with a caption, and the classes in it; a damaged pair is shown as a grey tile."""
    caption = f"{domain.split}  {sample.name}"
    try:
        image, label = domain.read_pair(sample)
    except (DataError, Image.DecompressionBombError):
        blank = np.full((_TILE[1], _TILE[0], 3), 225, np.uint8)
        return _captioned(_beside(blank, blank), f"{caption}  (cannot be shown)"), set()
    caption += f"  {image.shape[1]}x{image.shape[0]}"
    scale = min(_TILE[0] / image.shape[1], _TILE[1] / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    mask = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    return _captioned(_beside(small, labelled(small, mask, domain.label_space)), caption), set(np.unique(label).tolist())


def labelled(image: np.ndarray, mask: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Lay a label over an image; what is ignored becomes dark and hatched, since plain pixels could pass for a pale class.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: Train ids, (H, W) uint8.
        space: Colours of the classes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = overlay(image, mask, 0.7, space)
    rows, columns = np.indices(mask.shape)
    stripes = ((rows + columns) // 4 % 2).astype(bool)
    ignored = mask == IGNORE
    picture[ignored] = image[ignored] // 3
    picture[ignored & stripes] = _HATCH
    return picture


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one size, side by side."""
    return np.concatenate([left, np.full((left.shape[0], 2, 3), _PAPER, np.uint8), right], axis=1)


def _captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    return np.concatenate([_text(caption, picture.shape[1], 14), picture])


def _text(text: str, width: int, size: int) -> np.ndarray:
    """One line of text, cut at the end of the width."""
    line = Image.new("RGB", (width, _LINE * size // 14), _PAPER)
    ImageDraw.Draw(line).text((2, line.height / 2), text, fill=_INK, font=ImageFont.load_default(size), anchor="lm")
    return np.asarray(line)


def _sheet(title: str, tiles: list[np.ndarray], present: set[int], space: LabelSpace) -> np.ndarray:
    """Title, the tiles in columns, legend."""
    cell = max(tile.shape[1] for tile in tiles)
    width = _COLUMNS * cell + (_COLUMNS - 1) * _GAP
    rows = []
    for start in range(0, len(tiles), _COLUMNS):
        row = tiles[start : start + _COLUMNS]
        canvas = np.full((max(tile.shape[0] for tile in row) + _GAP, width, 3), _PAPER, np.uint8)
        for place, tile in enumerate(row):
            left = place * (cell + _GAP)
            canvas[: tile.shape[0], left : left + tile.shape[1]] = tile
        rows.append(canvas)
    extra = [("ignored", _HATCH)] if IGNORE in present else []
    strip = legend(sorted(present - {IGNORE}), width, extra=extra, space=space)
    sheet = np.concatenate([_text(title, width, 20), *rows, strip])
    return np.pad(sheet, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)
