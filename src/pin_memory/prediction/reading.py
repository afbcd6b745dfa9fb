"""Reading a picture of any kind as the user sees it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pin_memory.domains.readers.decoding import PILLOW_ERRORS, opened
from pin_memory.utils.errors import DataError


def read_rgb(path: str | Path) -> np.ndarray:
    """Read a picture of any kind as the user sees it.

    A photo is turned upright as its EXIF data say, so the mask has the size and direction of the shown picture, not of the stored
    one. Grey and palette pictures get three channels, 16 bit grey is divided by 257, transparency is dropped.

    Args:
        path: The picture.

    Returns:
        Image (H, W, 3) uint8.

    Raises:
        DataError: If the file is no readable picture.
    """
    try:
        with opened(path) as stored:
            picture = ImageOps.exif_transpose(stored)
            if picture.mode == "F" or picture.mode.startswith("I"):
                picture = Image.fromarray(_to_8_bit(np.asarray(picture)))
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image, or of a format that is not known") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PILLOW_ERRORS as error:
        raise DataError(f"{path}: not a readable image ({error})") from error


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 bits, or floats of 0..1 or 0..255, as 8 bits."""
    if np.issubdtype(values.dtype, np.integer):
        values = values / 257
    elif values.max(initial=0) <= 1:
        values = values * 255
    return values.clip(0, 255).round().astype(np.uint8)
