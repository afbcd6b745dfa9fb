"""Label maps from files: an id for each pixel, in whatever kind of picture holds it exactly, or a colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from pin_memory.utils.decoding import WHITE, Decoded, decode
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

# Grey pictures of 2 and 4 bits, which optimisers make of maps with few ids: Pillow stretches their values to 0..255, by these factors.
_STRETCHED = {"L;2": 85, "L;4": 17}
# Of 16-bit colours Pillow gives the high bytes; this is how it gives the low ones, and both of red, as red and green.
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_RED_BYTES = {"RGB;16B": "RGBXXX"}


class ColourLabelError(DataError):
    """A label map of ids was expected, and a picture of colours was found."""


def read_indices(path: Path) -> np.ndarray:
    """Decode a label map of ids to raw label ids, (H, W) uint8.

    Ids may be grey or palette pictures of up to 8 bits, or of 16 or 32 bits or floats that hold whole numbers of 0..255, or grey that is
    stored as colours (three equal channels). Opacity and the palette's colours do not count.

    Raises:
        DataError: It cannot be read, or holds no ids of 0..255.
    """
    found = decode(path)
    _require_lossless(path, found)
    pixels = np.asarray(found.picture)
    if found.raw.startswith(WHITE):
        pixels = np.rint(pixels * (int(found.raw.removeprefix(WHITE)) / (65535 if pixels.dtype.itemsize > 1 else 255)))
    if ";16" in found.raw and pixels.ndim == 3:
        pixels = _all_bits(path, found)
    if pixels.ndim == 3:
        pixels = _one_channel(path, found.picture.mode, pixels)
    if pixels.dtype in (np.uint8, np.bool_):
        return pixels.astype(np.uint8) // np.uint8(_STRETCHED.get(found.raw, 1))
    return _small_ids(path, pixels)


def _require_lossless(path: Path, found: Decoded) -> None:
    """Refuse a picture whose compression changes the values of pixels."""
    data = path.read_bytes() if found.format in ("WEBP", "JPEG2000") else b""
    lossy = {
        "TIFF": found.picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"),
        "WEBP": b"VP8L" not in data,
        "JPEG2000": data[data.find(b"\xff\x52") + 13 :][:1] == b"\0",  # the wavelet that does not map whole numbers to whole numbers
    }
    if lossy.get(found.format, found.format in ("JPEG", "MPO", "AVIF")):
        kind = f"{'lossy ' * (found.format in lossy)}{found.format}"
        raise DataError(f"{path}: expected a label map, found the format {kind}, whose compression changes it. Get the label as a PNG.")


def _one_channel(path: Path, mode: str, pixels: np.ndarray) -> np.ndarray:
    """The ids of a picture with several channels (H, W, C)."""
    if mode in ("LA", "PA"):
        return pixels[..., 0]
    if mode not in ("RGB", "RGBA", "RGBX"):
        _refuse(path, f"picture mode {mode}", "Get the label as a grey or palette PNG.")
    if not (np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])):
        raise ColourLabelError(
            f"{path}: expected a label map of ids, found colours (picture mode {mode}; red, green and blue differ). Renderings in"
            " colour and maps with a number per channel are no maps of ids."
        )
    return pixels[..., 0]


def _small_ids(path: Path, values: np.ndarray) -> np.ndarray:
    """Ids of 0..255 from integers of more bits or from floats (H, W); whatever else they hold is refused."""
    low, high = values.min(), values.max()  # NaN where one is
    if np.issubdtype(values.dtype, np.floating) and not (np.isfinite((low, high)).all() and (values == np.trunc(values)).all()):
        _refuse(path, "fractions or numbers that are not finite", "Probabilities, depths and the like are no ids.")
    if low < 0:
        _refuse(path, f"the value {low:.0f}", f"Write {IGNORE} for pixels without a class.")
    if high > 255 and (others := values[values <= 255]).size and (values[values > 255] == 65535).all():
        _refuse(path, f"{others.min():.0f}..{others.max():.0f} and 65535", f"Where that means no class, write {IGNORE} instead.")
    if high > 255 and not (values % 257).any():
        _refuse(path, f"multiples of 257 up to {high:.0f}", "Perhaps a tool stretched 8 bits to 16: write value // 257 as 8-bit grey.")
    if high > 255:
        _refuse(
            path,
            f"values up to {high:.0f}",
            "Perhaps it is an instance map (id * 1000 + number, as of Cityscapes and IDD, or id * 256 + number, as of KITTI): get the map"
            " of classes, or write value // 1000 (// 256) as 8-bit grey.",
        )
    return values.astype(np.uint8)


def _refuse(path: Path, found: str, advice: str) -> NoReturn:
    raise DataError(f"{path}: expected a label map of ids of 0..255, found {found}. {advice}")


def _all_bits(path: Path, found: Decoded) -> np.ndarray:
    """All 16 bits of a PNG of several channels, (H, W, C) uint16."""
    if found.format != "PNG" or found.raw not in _LOW_BYTES:
        _refuse(path, f"several channels of 16 bits each ({found.raw})", "Get the label as a grey or palette PNG.")
    return np.asarray(found.picture).astype(np.uint16) << 8 | np.asarray(decode(path, _LOW_BYTES).picture)


def read_codes(path: Path) -> np.ndarray:
    """Decode a picture of colours to one number per pixel, R + 256 G + 65536 B, (H, W) uint32; the opacity does not count."""
    found = decode(path)
    _require_lossless(path, found)
    if found.picture.mode not in ("RGB", "RGBA", "P"):
        raise DataError(
            f"{path}: expected a label map of colours (8-bit RGB or palette picture), found picture mode {found.picture.mode}. "
            "Maps of ids need the encoding for ids."
        )
    colours = np.asarray(found.picture.convert("RGB"))
    if ";16" in found.raw and not np.array_equal(deep := _all_bits(path, found)[..., :3], colours * np.uint16(257)):
        if deep.max() > 255:
            raise DataError(f"{path}: expected a label map of colours of 8 bits, found 16 bits per channel, all of which count.")
        colours = deep.astype(np.uint8)
    # Four bytes per pixel are one little-endian number; the fourth is always 255.
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF)


def read_deep_red(path: Path) -> np.ndarray:
    """Decode the red channel of a 16-bit RGB PNG at its full depth, (H, W) uint16."""
    found = decode(path, _RED_BYTES)
    if found.format != "PNG" or found.raw not in _RED_BYTES:
        channels, kind = len(found.picture.getbands()), "uint16" if ";16" in found.raw else np.asarray(found.picture).dtype
        raise DataError(
            f"{path}: expected a 16-bit RGB PNG (class id in the red channel), found {channels} channel(s) of {kind} ({found.format}). "
            "Colour renderings and converted copies of the labels are not usable here."
        )
    high, low = (np.asarray(found.picture.getchannel(place)) for place in (0, 1))
    return high.astype(np.uint16) << 8 | low


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
