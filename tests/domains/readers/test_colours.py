"""Labels coded in the three bytes of a picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains.readers.label_maps import CodeTable, read_codes
from pin_memory.utils.errors import DataError


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (13, 17)])
def test_decoding_looks_every_pixel_up(shape: tuple[int, int]) -> None:
    ids = {0: 9, 5: 0, 256: 3, 65536: 254, 2**24 - 1: 7}
    codes = np.random.default_rng(0).choice([*ids, 1, 257, 70_000], shape).astype(np.uint32)
    expected = [[ids.get(code, 255) for code in row] for row in codes.tolist()]
    found = CodeTable(ids).decode(codes)
    assert found.dtype == np.uint8
    assert found.tolist() == expected


def test_colours_are_red_green_blue() -> None:
    table = CodeTable.of_colours({(1, 0, 0): 10, (0, 1, 0): 20, (0, 0, 1): 30})
    assert table.decode(np.array([[1, 256, 65536, 0]], np.uint32)).tolist() == [[10, 20, 30, 255]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_pictures_of_colours(tmp_path: Path, mode: str) -> None:
    rgb = np.array([[(1, 2, 3), (250, 128, 64)], [(1, 2, 3), (1, 2, 3)]], np.uint8)
    if mode == "RGBA":
        picture = Image.fromarray(np.dstack([rgb, np.array([[0, 255], [7, 9]], np.uint8)]))
    elif mode == "P":
        picture = Image.fromarray(np.array([[0, 1], [0, 0]], np.uint8))
        picture.putpalette([1, 2, 3, 250, 128, 64])
    else:
        picture = Image.fromarray(rgb)
    assert picture.mode == mode
    picture.save(tmp_path / "label.png")
    assert read_codes(tmp_path / "label.png").tolist() == [[1 + 512 + 3 * 65536, 250 + 128 * 256 + 64 * 65536], [1 + 512 + 3 * 65536] * 2]


@pytest.mark.parametrize(("values", "mode"), [(np.zeros((2, 2), np.uint8), "L"), (np.zeros((2, 2), np.uint16), "I;16")])
def test_pictures_of_ids_are_refused(tmp_path: Path, values: np.ndarray, mode: str) -> None:
    Image.fromarray(values).save(tmp_path / "label.png")
    with pytest.raises(DataError, match=f"expected a label map of colours .* picture mode {mode}"):
        read_codes(tmp_path / "label.png")


def test_no_picture_at_all(tmp_path: Path) -> None:
    (tmp_path / "label.png").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_codes(tmp_path / "label.png")
    with pytest.raises(DataError):
        read_codes(tmp_path / "absent.png")
