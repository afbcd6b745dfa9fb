"""Pictures and label maps from files, with errors that name the file.

Images go through OpenCV: it is fast, lets other threads run, and its in-memory decoder refuses a truncated file (`cv2.imread` returns a
truncated JPEG with a grey rest). Label maps of indices go through Pillow, since OpenCV turns a palette PNG into colours; 16-bit RGB PNGs
go through OpenCV, since Pillow keeps their high byte only.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pin_memory.errors import DataError

# Orientation tags must not turn an image that its label map does not follow.
_RGB = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

# Grey pictures of 2 and 4 bits, which optimisers make of maps with few ids: Pillow stretches their values to 0..255, by these factors.
_STRETCHED = {"L;2": 85, "L;4": 17}


def read_rgb(path: Path) -> np.ndarray:
    """Decode an image file; grey pictures get three equal channels, deeper ones are reduced to 8 bits.

    Args:
        path: A PNG or JPEG file, or anything else OpenCV reads.

    Returns:
        (H, W, 3) uint8 RGB. An orientation tag is not applied.

    Raises:
        DataError: The file cannot be read, is truncated or is not a picture.
    """
    return np.asarray(cv2.cvtColor(_decode(path, _RGB), cv2.COLOR_BGR2RGB))


def read_indices(path: Path) -> np.ndarray:
    """Decode a label map of one index of up to 8 bits per pixel (grey-scale or palette PNG), the indices as they are.

    Returns:
        (H, W) uint8 raw label ids.

    Raises:
        DataError: The file cannot be read or is truncated, or holds colours or deeper values instead of 8-bit indices.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise DataError(
                    f"{path}: expected a label map of 8-bit ids (grey-scale or palette PNG), found picture mode {image.mode}. "
                    "Colour renderings of the labels are not label maps."
                )
            stretched = _STRETCHED.get(str(image.tile[0].args) if image.tile else "", 1)
            return np.array(image, np.uint8) // np.uint8(stretched)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _undecodable(path, str(error)) from error


def read_deep_rgb(path: Path) -> np.ndarray:
    """Decode a 16-bit RGB PNG at its full depth.

    Returns:
        (H, W, 3) uint16 RGB.

    Raises:
        DataError: The file cannot be read or is truncated, or is not 16-bit RGB.
    """
    pixels = _decode(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise DataError(
            f"{path}: expected a 16-bit RGB PNG (class id in the red channel), found {channels} channel(s) of {pixels.dtype}. "
            "Colour renderings and converted copies of the labels are not usable here."
        )
    return pixels[..., ::-1]


def _decode(path: Path, flags: int) -> np.ndarray:
    """Decode in memory with OpenCV, or raise a `DataError`."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:
        raise _undecodable(path, error.err) from error
    if pixels is None:
        raise _undecodable(path, "an empty file" if not data.size else "truncated, damaged or not a picture")
    return np.asarray(pixels)


def _undecodable(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: cannot be decoded ({reason}). The copy is probably damaged: get this file again.")
