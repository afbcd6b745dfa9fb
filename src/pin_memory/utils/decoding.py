"""Pictures from files, as viewers show them, with errors that name the file.

All are opened by Pillow: it refuses what ends early and prints nothing of its own, where OpenCV's libraries write lines without a name.
The pixels of RGB PNGs, in which most of a sample's time goes, come from libspng: as strict, as quiet, faster (docs/performance_data.md).
A picture's head is read first: a small file can claim a size that takes all memory. What it claims, and the format, have to be usual.
"""

import ctypes
import mmap
import os
import stat
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from pin_memory.utils.errors import ConfigurationError, DataError

PIXEL_LIMIT = "PIN_MEMORY_MAX_PIXELS"
"""Name in the environment of the largest number of pixels that a picture may have."""
MAX_PIXELS = 89_478_485
"""The limit without it, which is Pillow's: an RGB picture of 256 MiB, 9459 x 9459."""
MAX_FILE_BYTES = 2**30
"""Bytes that a picture file may have: 1 GiB."""
WHITE = "white "
"""Prefix of the raw mode of a PGM, in front of the value that it calls white."""
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error, OverflowError,
                 UnidentifiedImageError, Image.DecompressionBombError)  # fmt: skip
"""What Pillow's decoders are known to raise for damaged files."""

# No format that starts another program (EPS) or is no still picture.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO", "PCX")
_PILLOW_LIMIT = threading.Lock()
# How a picture is turned by its EXIF orientation; 1 is upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # in a PNG that may have an orientation

# Pillow's warnings on odd files do not name the file and come each time that it is read; what matters is an error.
if not sys.warnoptions:
    warnings.filterwarnings("ignore", module=r"PIL\.")
with suppress(OSError, AttributeError, TypeError):  # against libtiff's own lines; not every build of Pillow exposes it
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


class Decoded(NamedTuple):
    """A picture, upright, and how the file holds it."""

    picture: Image.Image
    raw: str  # Pillow's name for the way that pixels are stored, such as "RGB;16B"
    format: str  # such as "PNG"


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode an image file of any kind to (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says: as viewers show it.

    Grey and palette pictures get three channels, 16-bit grey is divided by 257, opacity is dropped.

    Raises:
        DataError: It is missing, damaged, too large or no picture.
    """
    if (pixels := _plain_png(path)) is not None:
        return pixels
    picture = decode(path).picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = Image.fromarray(_to_8_bit(np.asarray(picture)))
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _plain_png(path: str | Path) -> np.ndarray | None:
    """The pixels of an RGB PNG of 8 bits, (H, W, 3); None for others: transparent, animated, damaged, maybe to be turned."""
    with _reported(path), opened(path) as picture:
        if picture.format != "PNG" or raw_mode(picture) != "RGB" or picture.info.keys() & {"transparency", "loop"}:
            return None
        content = Path(path).read_bytes()
        if any(mark in content for mark in _PNG_MARKS):
            return None
        with suppress(imagecodecs.SpngError):  # Pillow says what is wrong
            return imagecodecs.spng_decode(content)
        return None


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 bits, or floats of 0..1 or 0..255, as 8 bits."""
    if np.issubdtype(values.dtype, np.integer):
        values = values / 257
    elif values.max(initial=0) <= 1:
        values = values * 255
    return np.nan_to_num(values).clip(0, 255).round().astype(np.uint8)


def decode(path: str | Path, raws: Mapping[str, str] | None = None) -> Decoded:
    """Decode a picture and turn it upright; `raws` names other ways to take pixels that are stored in some way."""
    with _reported(path), opened(path) as picture:
        stored = raw_mode(picture)
        if raws and stored in raws:
            picture.tile = [(*tile[:3], raws[stored]) for tile in picture.tile]  # type: ignore[misc]
        picture.load()
        turn = _TURNS.get(orientation(picture))  # a TIFF has been turned by now, and its tag is gone
        return Decoded(picture if turn is None else picture.transpose(turn), stored, str(picture.format))


@contextmanager
def _reported(path: str | Path) -> Iterator[None]:
    """Raise what decoders raise as errors that name the file."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise undecodable(path, unknown_kind(path)) from error
    except PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
        raise undecodable(path, str(error)) from error


def raw_mode(picture: ImageFile.ImageFile) -> str:
    """Pillow's name for the way that the pixels of a picture, not yet decoded, are stored; of a PGM, which value is white."""
    decoder, _, _, arguments = picture.tile[0] if picture.tile else ("", (), 0, "")
    if decoder in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
        return f"{WHITE}{arguments[-1]}"
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 (upright) where there is none, or one that cannot be read."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except PILLOW_ERRORS:
        return 1
    return found if found in _TURNS else 1


def read_head(picture: ImageFile.ImageFile, path: str | Path) -> tuple[tuple[int, int], int]:
    """Width and height of a picture as it will be read, and its EXIF orientation; nothing is decoded unless a PNG may have one."""
    if picture.format == "PNG":
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if not any(content.find(mark) >= 0 for mark in _PNG_MARKS):
                return picture.size, 1
    size = picture.size
    if isinstance(picture, TiffImagePlugin.TiffImageFile):  # whose size is the turned one in some releases of Pillow
        size = picture.tag_v2[TiffImagePlugin.IMAGEWIDTH], picture.tag_v2[TiffImagePlugin.IMAGELENGTH]
    found = orientation(picture)
    return (size[::-1] if found >= 5 else size), found


def describe_turns(*paths: Path) -> str:
    """A sentence on those of the files that their EXIF orientation turns, for a message on sizes; empty without any."""
    turned = []
    for path in paths:
        with suppress(DataError, *PILLOW_ERRORS), opened(path) as picture:
            if (found := read_head(picture, path)[1]) > 1:
                turned.append(f"{path} (EXIF orientation {found})")
    hint = "A partner that was made for the picture as it is stored does not fit then: take the tag out, or turn the partner, too."
    return f" Turned upright, as viewers show it: {', '.join(turned)}. {hint}" if turned else ""


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


def unknown_kind(path: str | Path) -> str:
    """Describe what a file may be that Pillow does not recognise."""
    with Path(path).open("rb") as file:
        head = file.read(100)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "a TIFF with pixels of a kind that is not read, or a damaged head; those of 8, 16 and 32 bits are read"
    return "a web page or XML" if head.lstrip().startswith(b"<") else "not a picture"


def undecodable(path: str | Path, reason: str) -> DataError:
    """Make the error of a picture file that cannot be decoded."""
    return DataError(f"{path}: cannot be decoded ({reason}). The copy is probably damaged: get this file again.")
