"""Reading an image of any kind as the user sees it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pin_memory.domains.readers.decoding import PILLOW_ERRORS, opened
from pin_memory.utils.errors import DataError


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image of any kind as `(H, W, 3)` uint8 RGB; a file that is none raises a DataError.

    A photo is turned upright as its EXIF data say, so the mask has the size and direction of the shown image, not of the stored one. Grey
    and palette images get three channels, 16-bit grey is divided by 257, transparency is dropped.
    """
    try:
        with opened(path) as stored:
            image = ImageOps.exif_transpose(stored)
            if image.mode == "F" or image.mode.startswith("I"):
                image = Image.fromarray(_to_8_bit(np.asarray(image)))
            return np.asarray(image.convert("RGB"))
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
