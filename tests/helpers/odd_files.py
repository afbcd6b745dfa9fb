"""Unusual and damaged pictures, on which the libraries behind Pillow and OpenCV are known to write lines of their own."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def scene(number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(before: bytes = b"", after: bytes = b"", pixels: Callable[[bytes], bytes] = zlib.compress) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in scene())
    return b"\x89PNG\r\n\x1a\n" + head + before + _chunk(b"IDAT", pixels(rows)) + after + _chunk(b"IEND", b"")


def _saved(kind: str, **options: str) -> bytes:
    Image.fromarray(scene()).save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def _garbled(content: bytes, at: float) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes(byte ^ 0x5A for byte in content[place : place + 40]) + content[place + 40 :]


_JPEG, _TIFF = _saved("JPEG"), _saved("TIFF", compression="tiff_lzw")

UNUSUAL: dict[str, bytes] = {
    "extra rows.png": _png(pixels=lambda rows: zlib.compress(rows + bytes(500))),
    "extra data.png": _png(pixels=lambda rows: zlib.compress(rows) + b"extra data"),
    "a second IDAT.png": _png(after=_chunk(b"IDAT", b"more")),
    "bad profile.png": _png(_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(b"no profile" * 30))),
    "bad EXIF.png": _png(_chunk(b"eXIf", b"garbage")),
    "sizes twice.png": _png(_chunk(b"pHYs", bytes(9)) * 2),
    "short time.png": _png(after=_chunk(b"tIME", b"1")),
    "extraneous bytes.jpg": _JPEG[:-2] + b"\x12\x34\x56\x78" * 5 + _JPEG[-2:],
    "bad EXIF.jpg": _JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0garbage!" + _JPEG[2:],
    "early end marker.jpg": _JPEG[: len(_JPEG) // 2] + b"\xff\xd9",
}
"""By name: files that are read."""

DAMAGED: dict[str, bytes] = {
    "wrong sum of pixels.png": _png(pixels=lambda rows: zlib.compress(rows)[:-4] + b"0000"),
    "missing rows.png": _png(pixels=lambda rows: zlib.compress(rows[:-300])),
    "cut.png": _png()[:-5000],
    "cut.jpg": _JPEG[: len(_JPEG) // 2],
    "cut.tif": _TIFF[: len(_TIFF) * 2 // 3],
    "garbled.tif": _garbled(_TIFF, 0.5),
    "garbled.gif": _garbled(_saved("GIF"), 0.5),
    "cut.bmp": _saved("BMP")[:-2000],
    "no picture.png": b"no picture",
}
"""By name: files that cannot be read."""


def write_all(folder: Path) -> None:
    """Write all of these files."""
    folder.mkdir(parents=True)
    for name, content in (UNUSUAL | DAMAGED).items():
        (folder / name).write_bytes(content)
