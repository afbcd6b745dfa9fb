"""Label maps of unusual depth, and pictures that must not be decoded."""

import struct
import zlib
from importlib.util import module_from_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pin_memory.domains.readers.label_maps import read_deep_red, read_indices
from pin_memory.utils import decoding
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError


def write_png(path: Path, rows: list[bytes], width: int, height: int, depth: int, colour: int = 0) -> None:
    """A PNG of any depth, written chunk by chunk, as optimisers write maps of few ids."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("depth", "row", "ids"),
    [(1, 0b01011000, [0, 1, 0, 1, 1, 0, 0, 0]), (2, 0b00011011, [0, 1, 2, 3]), (4, 0x2F, [2, 15])],
)
def test_grey_maps_of_few_bits_keep_their_ids(tmp_path: Path, depth: int, row: int, ids: list[int]) -> None:
    write_png(tmp_path / "map.png", [bytes([row])] * 3, len(ids), 3, depth)
    np.testing.assert_array_equal(read_indices(tmp_path / "map.png"), [ids] * 3)


def test_a_header_of_an_absurd_size_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "bomb.png", [b"\0"], 30_000, 30_000, 8)
    with pytest.raises(DataError, match=r"bomb\.png"):
        read_indices(tmp_path / "bomb.png")


@pytest.mark.parametrize("limit", [50, 89_478_485, None])
def test_reading_leaves_the_globals_of_pillow_and_opencv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    try:
        assert decoding.__spec__ is not None
        assert decoding.__spec__.loader is not None
        decoding.__spec__.loader.exec_module(module_from_spec(decoding.__spec__))  # what the first import does
        cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((20, 10, 3), np.uint16))
        cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((20, 10), np.uint8))
        assert read_deep_red(tmp_path / "deep.png").shape == (20, 10)
        assert read_rgb(tmp_path / "grey.png").shape == (20, 10, 3)
        assert read_indices(tmp_path / "grey.png").shape == (20, 10)
        (tmp_path / "grey.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
        with pytest.raises(DataError):
            read_rgb(tmp_path / "grey.png")
        assert limit == Image.MAX_IMAGE_PIXELS
        assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_WARNING
    finally:
        cv2.utils.logging.setLogLevel(level)
