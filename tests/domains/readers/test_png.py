"""RGB PNGs, which libspng decodes: Pillow's pixels bit by bit, and the same errors."""

import random
import struct
import zlib
from pathlib import Path
from typing import NoReturn

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError
from tests.reliability import mutations

PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and steps, of the passes of an interlaced PNG."""
CHUNKS = {
    "gAMA": struct.pack(">I", 45_455), "sRGB": b"\0", "sBIT": b"\5\6\5", "bKGD": bytes(6), "PLTE": bytes(range(30)),
    "iCCP": b"sRGB\0\0" + zlib.compress(bytes(200)), "cICP": b"\1\1\0\1", "tEXt": b"Comment\0some",
}  # fmt: skip
"""Contents of chunks that say something of the pixels, or nothing."""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(path: Path, kind: str, body: bytes) -> None:
    """Put a chunk right after the head."""
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk(kind.encode(), body) + content[33:])


@pytest.fixture
def image() -> np.ndarray:
    """Smooth, so that the encoder takes every kind of filter."""
    rows, columns = np.mgrid[:61, :83]
    smooth = np.stack([rows * 2 + columns, rows * columns / 20, 255 - rows - columns], axis=-1)
    return (smooth + np.random.default_rng(0).integers(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def no_libspng(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be asked."""

    def refuse(content: bytes) -> NoReturn:
        raise AssertionError("decoded by libspng")

    monkeypatch.setattr(imagecodecs, "spng_decode", refuse)


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("level", [0, 9])
def test_pixels_are_those_of_pillow(image: np.ndarray, tmp_path: Path, kind: str, level: int) -> None:
    """Whatever else the file holds, and compressed as strongly or weakly as can be."""
    Image.fromarray(image).save(tmp_path / "image.png", compress_level=level)
    with_chunk(tmp_path / "image.png", kind, CHUNKS[kind])
    found = read_rgb(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as picture:
        np.testing.assert_array_equal(found, np.asarray(picture))
    np.testing.assert_array_equal(found, image)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)


def test_interlaced(image: np.ndarray, tmp_path: Path) -> None:
    rows = (row for y, x, dy, dx in PASSES for row in image[y::dy, x::dx])
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows if row.size))
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 1)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b""))
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png"), image)


@pytest.mark.usefixtures("no_libspng")
def test_others_are_decoded_by_pillow(image: np.ndarray, tmp_path: Path) -> None:
    """Transparent, animated, turned, grey, and what is no PNG."""
    picture, file = Image.fromarray(image), tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    picture.save(file, exif=exif)
    np.testing.assert_array_equal(read_rgb(file), image[::-1, ::-1])
    picture.save(file, save_all=True, append_images=[Image.fromarray(255 - image)])
    np.testing.assert_array_equal(read_rgb(file), image)
    picture.save(file)
    with_chunk(file, "tRNS", bytes(6))
    np.testing.assert_array_equal(read_rgb(file), image)
    picture.convert("L").save(file)
    assert (read_rgb(file)[..., 0] == np.asarray(picture.convert("L"))).all()
    picture.save(tmp_path / "image.bmp")
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.bmp"), image)
    picture.save(file)
    with pytest.raises(AssertionError, match="libspng"):
        read_rgb(file)


@pytest.mark.parametrize("damage", [mutations.cut, mutations.flip, mutations.wipe, mutations.insert, mutations.remove])
def test_damaged_files_are_refused_or_read_as_by_pillow(image: np.ndarray, tmp_path: Path, damage: mutations.Damage) -> None:
    """With an error that names the file; 60 of each kind."""
    Image.fromarray(image).save(tmp_path / "image.png")
    content, refused = (tmp_path / "image.png").read_bytes(), 0
    for number in range(60):
        (tmp_path / "image.png").write_bytes(damage(content, random.Random(number)))
        try:
            found = read_rgb(tmp_path / "image.png")
        except DataError as error:
            refused += "image.png" in str(error)
            continue
        with Image.open(tmp_path / "image.png") as picture:
            np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")))
    assert refused > 20
