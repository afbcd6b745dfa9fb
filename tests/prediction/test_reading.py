"""Pictures of every kind are read as the user sees them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
    rgb = read_rgb(path)
    assert rgb.shape == (4, 6, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == 255).all()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_16_bits_are_scaled_not_clipped(shape: tuple[int, ...], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full(shape, 128 * 257, np.uint16))
    assert (read_rgb(tmp_path / "deep.png") == 128).all()


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    stored = Image.new("RGB", (60, 40))
    exif = stored.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    stored.save(tmp_path / "phone.jpg", exif=exif)
    assert read_rgb(tmp_path / "phone.jpg").shape == (60, 40, 3)


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="No such file"):
        read_rgb(tmp_path / "gone.png")
    with pytest.raises(DataError, match="not a picture"):
        read_rgb(tmp_path / "text.png")
