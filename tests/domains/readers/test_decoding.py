"""Label maps of unusual depth, and pictures that must not be decoded."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from pin_memory.domains.readers.decoding import read_indices
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
