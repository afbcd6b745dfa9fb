"""Pictures of segmentations: colour masks, overlays, legends and panels.

Images are uint8 RGB (H, W, 3) and masks are train ids (H, W), 0..K-1 or 255, everywhere in this module.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace

WRONG = (0, 235, 255)
"""Colour of wrong pixels: a cyan that no class comes near."""

_UNJUDGED = ((0, 0, 0), (48, 48, 48))
_BACKGROUND = (255, 255, 255)
_INK = (20, 20, 20)
_MIN_TILE_WIDTH = 400
_MAX_TILE_WIDTH = 800
_MAX_TILE_HEIGHT = 640
_GAP = 8
_MAX_PANEL_BYTES = 1_000_000


def colorize(mask: np.ndarray, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Paint train ids in the colours of their classes; ignored pixels become black.

    Args:
        mask: Train ids (H, W).
        space: Colours of the classes.

    Returns:
        Image (H, W, 3) uint8.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(space)] = space.palette
    return table[mask]


def overlay(rgb: np.ndarray, mask: np.ndarray, alpha: float = 0.5, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Lay the class colours over an image; ignored pixels show the image alone.

    Args:
        rgb: Image (H, W, 3) uint8.
        mask: Train ids (H, W).
        alpha: Opacity of the colours, 0 (image only) to 1 (colours only).
        space: Colours of the classes.

    Returns:
        Image (H, W, 3) uint8.
    """
    opacity = np.where(mask == IGNORE, 0.0, alpha)[..., None].astype(np.float32)
    return (rgb + opacity * (colorize(mask, space).astype(np.float32) - rgb)).round().astype(np.uint8)


def difference(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Show where a prediction differs from the ground truth.

    Args:
        rgb: Image (H, W, 3) uint8.
        truth: Train ids (H, W).
        prediction: Train ids (H, W).

    Returns:
        Image (H, W, 3) uint8: right pixels in grey, wrong ones in `WRONG`, unjudged ones dark and hatched.
    """
    grey = 70 + 0.4 * rgb.mean(axis=2, keepdims=True)
    picture = np.repeat(grey, 3, axis=2).astype(np.uint8)
    picture[(truth != prediction) & (truth != IGNORE)] = WRONG
    rows, columns = np.indices(truth.shape)
    dark = np.array(_UNJUDGED, np.uint8)[((rows + columns) // 6) % 2]
    return np.where((truth == IGNORE)[..., None], dark, picture)


def legend(
    present: Sequence[int] | np.ndarray,
    width: int,
    font_size: int = 16,
    extra: Sequence[tuple[str, tuple[int, int, int]]] = (),
    space: LabelSpace = CITYSCAPES,
) -> np.ndarray:
    """Draw a strip of colour patches with their class names, in as many rows as the width asks for.

    Args:
        present: Train ids to list, in any order, repeated or not; `IGNORE` is left out.
        width: Width of the strip in pixels.
        font_size: Height of the letters in pixels.
        extra: Further names and colours, listed last.
        space: Names and colours of the classes.

    Returns:
        Image (H, width, 3) uint8.
    """
    ids = sorted({int(value) for value in np.unique(np.asarray(present)) if value < len(space)})
    entries = [*((space.names[index], tuple(space.palette[index].tolist())) for index in ids), *extra]
    font = ImageFont.load_default(font_size)
    patch, row_height, margin = font_size, font_size + 10, font_size // 2
    cell = max((patch + 6 + int(font.getlength(name)) + font_size for name, _ in entries), default=1)
    columns = max(1, (width - margin) // cell)
    rows = -(-len(entries) // columns)
    strip = Image.new("RGB", (width, rows * row_height + margin), _BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for number, (name, color) in enumerate(entries):
        x, y = margin + number % columns * cell, margin // 2 + number // columns * row_height
        draw.rectangle((x, y + 4, x + patch, y + 4 + patch), fill=color, outline=_INK)
        draw.text((x + patch + 6, y + 4 + patch / 2), name, fill=_INK, font=font, anchor="lm")
    return np.asarray(strip)


def with_legend(picture: np.ndarray, present: Sequence[int] | np.ndarray, space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Put a legend below a picture; a picture too narrow for one is enlarged by a whole factor first.

    Args:
        picture: Image (H, W, 3) uint8.
        present: Train ids to list.
        space: Names and colours of the classes.

    Returns:
        Image (H', W', 3) uint8.
    """
    factor = -(-_MIN_TILE_WIDTH // picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    strip = legend(present, picture.shape[1], font_size=max(14, picture.shape[1] // 60), space=space)
    return np.concatenate([picture, strip])


def panel(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray, title: str = "", space: LabelSpace = CITYSCAPES) -> np.ndarray:
    """Draw image, ground truth, prediction and where they differ as four tiles with captions and a legend.

    Small images are enlarged and large ones are shrunk, so that a panel is always readable and never huge.

    Args:
        rgb: Image (H', W', 3) uint8, which may be of another size than the masks.
        truth: Train ids (H, W).
        prediction: Train ids (H, W).
        title: Line above the tiles.
        space: Names and colours of the classes.

    Returns:
        Image (H', W', 3) uint8.
    """
    width, height = _tile_size(truth.shape[1], truth.shape[0])
    judged = truth != IGNORE
    wrong = np.mean(truth[judged] != prediction[judged]) if judged.any() else 0.0
    rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    truth, prediction = (_resize_mask(mask, width, height) for mask in (truth, prediction))
    tiles = [
        _captioned(rgb, "image"),
        _captioned(_hatch(colorize(truth, space), truth), "ground truth"),
        _captioned(colorize(prediction, space), "prediction"),
        _captioned(difference(rgb, truth, prediction), f"differences: {100 * wrong:.1f} % of the judged pixels"),
    ]
    body = _beside([_below([tiles[0], tiles[2]]), _below([tiles[1], tiles[3]])])
    present = np.union1d(np.unique(truth), np.unique(prediction))
    strip = legend(present, body.shape[1], extra=[("wrong", WRONG), ("not judged", _UNJUDGED[1])], space=space)
    head = [_text_line(title, body.shape[1], 20)] if title else []
    return _framed(np.concatenate([*head, body, strip]))


def write_image(path: str | Path, image: np.ndarray, max_bytes: int | None = None) -> None:
    """Write a picture, whole or not at all; the suffix says in which format.

    Args:
        path: The file to write.
        image: uint8 (H, W, 3) RGB, or (H, W) for an 8-bit mask.
        max_bytes: Lower the quality of a JPEG until it is at most so large.

    Raises:
        OutputError: If the file cannot be written, or the suffix is that of no format.
    """
    content = _encoded(image, Path(path), max_bytes)
    with report_write_errors(path, "the picture "), atomic_write(path) as temporary:
        temporary.write_bytes(content)  # Pillow itself would not notice a JPEG that a full disk cuts short


def write_panel(path: str | Path, image: np.ndarray) -> None:
    """Write a panel as `write_image` does, of at most 1 MB if it is a JPEG."""
    write_image(path, image, max_bytes=_MAX_PANEL_BYTES)


def _encoded(image: np.ndarray, path: Path, max_bytes: int | None) -> bytes:
    """The content of the file of a picture."""
    form = Image.registered_extensions().get(path.suffix.lower())
    if form not in Image.SAVE:
        raise OutputError(f"Cannot write the picture {path}: no picture format is known by the suffix {path.suffix!r}. Use .png or .jpg.")
    picture = Image.fromarray(image)
    for quality in (90, 80, 70, 60, 40):
        # 4:4:4, since halved colour resolution smears the thin classes of a mask.
        options = {"quality": quality, "subsampling": 0} if form == "JPEG" else {}
        picture.save(buffer := BytesIO(), form, **options)
        if form != "JPEG" or max_bytes is None or buffer.tell() <= max_bytes:
            break
    return buffer.getvalue()


def _tile_size(width: int, height: int) -> tuple[int, int]:
    """Size of a tile that is wide enough to read and neither too wide nor too high."""
    scale = min(max(width, _MIN_TILE_WIDTH), _MAX_TILE_WIDTH) / width
    scale = min(scale, _MAX_TILE_HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize train ids without inventing any."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))


def _hatch(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mark unjudged pixels of a picture as the difference tile does."""
    marks = difference(picture, truth, truth)
    return np.where((truth == IGNORE)[..., None], marks, picture)


def _text_line(text: str, width: int, size: int) -> np.ndarray:
    """One line of text, cut at the end of the width."""
    line = Image.new("RGB", (width, size + 12), _BACKGROUND)
    ImageDraw.Draw(line).text((2, (size + 12) / 2), text, fill=_INK, font=ImageFont.load_default(size), anchor="lm")
    return np.asarray(line)


def _captioned(tile: np.ndarray, caption: str) -> np.ndarray:
    """A tile with its caption above."""
    return np.concatenate([_text_line(caption, tile.shape[1], 16), tile])


def _below(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles of one width, one below the other with a gap."""
    gap = np.full((_GAP, tiles[0].shape[1], 3), _BACKGROUND, np.uint8)
    return np.concatenate([tiles[0], gap, tiles[1]])


def _beside(columns: list[np.ndarray]) -> np.ndarray:
    """Columns of one height, side by side with a gap."""
    gap = np.full((columns[0].shape[0], _GAP, 3), _BACKGROUND, np.uint8)
    return np.concatenate([columns[0], gap, columns[1]], axis=1)


def _framed(picture: np.ndarray) -> np.ndarray:
    """A margin around the whole."""
    return np.pad(picture, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)
