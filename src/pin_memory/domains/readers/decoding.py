"""Pictures and label maps from files, with errors that name the file.

Images go through OpenCV: it is fast, lets other threads run, and its in-memory decoder refuses a truncated file (`cv2.imread` returns a
truncated JPEG with a grey rest). Label maps of indices go through Pillow, since OpenCV turns a palette PNG into colours; 16-bit RGB PNGs
go through OpenCV, since Pillow keeps their high byte only.

A picture's head is read first: a small file can claim a size that takes all memory. What it claims, and the format, have to be usual.
"""

import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import IGNORE

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

PIXEL_LIMIT = "PIN_MEMORY_MAX_PIXELS"
"""Name in the environment of the largest number of pixels that a picture may have."""
MAX_PIXELS = 89_478_485
"""The limit without it, which is Pillow's: an RGB picture of 256 MiB, 9459 x 9459."""
MAX_FILE_BYTES = 2**30
"""Bytes that a picture file may have: 1 GiB."""
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error, OverflowError,
                 UnidentifiedImageError, Image.DecompressionBombError)  # fmt: skip
"""What Pillow's decoders are known to raise for damaged files."""

# No format that starts another program (EPS) or is no still picture.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO", "PCX")
_PILLOW_LIMIT = threading.Lock()
# Orientation tags must not turn an image that its label map does not follow.
_RGB = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# Grey pictures of 2 and 4 bits, which optimisers make of maps with few ids: Pillow stretches their values to 0..255, by these factors.
_STRETCHED = {"L;2": 85, "L;4": 17}


def read_rgb(path: Path) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB; grey pictures get three equal channels, deeper ones are reduced to 8 bits."""
    return np.asarray(cv2.cvtColor(_decode(path, _RGB), cv2.COLOR_BGR2RGB))


def read_indices(path: Path) -> np.ndarray:
    """Decode a label map of one index of up to 8 bits per pixel (grey-scale or palette PNG) to raw label ids, (H, W) uint8."""
    try:
        with opened(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise DataError(
                    f"{path}: expected a label map of 8-bit ids (grey-scale or palette PNG), found picture mode {image.mode}. "
                    "Colour renderings of the labels are not label maps."
                )
            stretched = _STRETCHED.get(str(image.tile[0].args) if image.tile else "", 1)
            return np.array(image, np.uint8) // np.uint8(stretched)
    except PILLOW_ERRORS as error:
        raise undecodable(path, str(error)) from error


def read_codes(path: Path) -> np.ndarray:
    """Decode a colour picture of 8 bits to one number per pixel, R + 256 G + 65536 B, (H, W) uint32; the opacity does not count."""
    try:
        with opened(path) as image:
            mode = image.mode
    except PILLOW_ERRORS as error:
        raise undecodable(path, str(error)) from error
    if mode not in ("RGB", "RGBA", "P"):
        raise DataError(
            f"{path}: expected a label map of colours (8-bit RGB or palette picture), found picture mode {mode}. "
            "Maps of ids need the encoding for ids."
        )
    # Four bytes per pixel are one little-endian number; the fourth is always 255.
    return np.asarray(cv2.cvtColor(read_rgb(path), cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF)


class CodeTable:
    """The raw label id (0..255) of each code R + 256 G + 65536 B, a class colour or a segment's number; what is not listed becomes 255."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        codes = sorted(ids)
        self._codes = np.array(codes, np.uint32)
        self._ids = np.array([ids[code] for code in codes], np.uint8)

    @classmethod
    def of_colours(cls, ids: Mapping[Colour, int]) -> "CodeTable":
        """Build the table from the raw id of each colour."""
        return cls({red + 256 * green + 65536 * blue: raw for (red, green, blue), raw in ids.items()})

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes (H, W) uint32 into raw ids (H, W) uint8.

        Labels are made of patches, so each run of equal codes along the rows is looked up once: far fewer than there are pixels, and no
        loading process holds a table of the 16 million colours.
        """
        row = codes.ravel()
        starts = np.concatenate(([0], np.flatnonzero(row[1:] != row[:-1]) + 1))
        runs = row[starts]
        places = np.searchsorted(self._codes, runs).clip(max=len(self._codes) - 1)
        ids = np.where(self._codes[places] == runs, self._ids[places], np.uint8(IGNORE))
        return np.repeat(ids, np.diff(starts, append=row.size)).reshape(codes.shape)

    def unlisted(self, codes: np.ndarray, limit: int) -> dict[Colour, int]:
        """Pixels of those colours of codes (H, W) uint32 that are not listed: of the `limit` most frequent ones."""
        found, pixels = np.unique(codes, return_counts=True)
        other = ~np.isin(found, self._codes)
        order = np.argsort(-pixels[other], kind="stable")[:limit]
        pairs = zip(found[other][order].tolist(), pixels[other][order].tolist(), strict=True)
        return {(code & 255, code >> 8 & 255, code >> 16): count for code, count in pairs}


def read_deep_rgb(path: Path) -> np.ndarray:
    """Decode a 16-bit RGB PNG at its full depth, (H, W, 3) uint16."""
    pixels = _decode(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise DataError(
            f"{path}: expected a 16-bit RGB PNG (class id in the red channel), found {channels} channel(s) of {pixels.dtype}. "
            "Colour renderings and converted copies of the labels are not usable here."
        )
    return pixels[..., ::-1]


def max_pixels() -> int:
    """The largest number of pixels that a picture may have, from the environment where `PIN_MEMORY_MAX_PIXELS` is set."""
    text = os.environ.get(PIXEL_LIMIT, "")
    if not text:
        return MAX_PIXELS
    if not (text.isdecimal() and 0 < int(text) <= 2**30):  # OpenCV decodes no more
        raise ConfigurationError(f"{PIXEL_LIMIT}={text} in the environment: expected a whole number of pixels, at most {2**30}.")
    return int(text)


@contextmanager
def opened(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture of a usual format and size with Pillow; its head is read, no pixel is decoded yet.

    Besides a `DataError`, any of `PILLOW_ERRORS` may come out of the block.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: expected a picture, found a folder, a pipe or a device.")
    if not status.st_size:
        raise undecodable(path, "an empty file")
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(f"{path}: a file of {status.st_size} bytes is no picture; at most {MAX_FILE_BYTES} are read.")
    try:
        picture = _open_with_pillow(path)
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    with picture:
        check_pixels(path, *picture.size)
        yield picture


def _open_with_pillow(path: str | Path) -> ImageFile.ImageFile:
    """Open a picture; where Pillow's limit of pixels, a global of the whole process, is below ours, it is raised for this call only."""
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]  # those that this Pillow was built with
    with _PILLOW_LIMIT:
        limit, own = Image.MAX_IMAGE_PIXELS, max_pixels()
        if limit is not None and limit < own:
            Image.MAX_IMAGE_PIXELS = own
            try:
                return Image.open(path, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    return Image.open(path, formats=formats)


def check_pixels(path: str | Path, width: int, height: int) -> None:
    """Refuse a picture of an absurd size before memory is taken for it."""
    if width < 1 or height < 1 or width * height > max_pixels():
        raise _too_large(path, f"{width}x{height} pixels")


def _too_large(path: str | Path, claim: str) -> DataError:
    return DataError(
        f"{path}: claims to be too large a picture ({claim}); at most {max_pixels()} pixels are decoded, since a damaged or malicious file"
        f" can ask for all memory. If it really is so large, set {PIXEL_LIMIT} in the environment."
    )


def _decode(path: Path, flags: int) -> np.ndarray:
    """Decode in memory with OpenCV."""
    try:
        with opened(path):
            data = np.fromfile(path, np.uint8)
    except UnidentifiedImageError as error:
        raise undecodable(path, "truncated, damaged or not a picture") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except PILLOW_ERRORS as error:
        raise undecodable(path, str(error)) from error
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError(f"no memory is left to decode {path}") from error
        raise undecodable(path, error.err) from error
    if pixels is None:
        raise undecodable(path, "truncated, damaged or not a picture")
    return np.asarray(pixels)


def undecodable(path: str | Path, reason: str) -> DataError:
    """Make the error of a picture file that cannot be decoded."""
    return DataError(f"{path}: cannot be decoded ({reason}). The copy is probably damaged: get this file again.")
