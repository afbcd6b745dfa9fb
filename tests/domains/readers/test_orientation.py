"""One rule for all readers: a picture is taken as viewers show it, turned upright by its EXIF orientation."""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import FolderDataModule, FolderDomain
from pin_memory.domains.loading.class_statistics import class_counts
from pin_memory.domains.readers.label_maps import read_codes, read_indices
from pin_memory.prediction import images
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError
from tests.domains.readers.domain_cases import stripes, write_grey

ROWS, COLUMNS = 16, 24
UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {  # of what is stored, as the EXIF standard defines the tag
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def late_exif(path: Path, orientation: int) -> None:
    """Move the tag of a PNG behind its pixels, where some tools write it."""
    content = path.read_bytes()
    body = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    path.write_bytes(content[:-12] + chunk + content[-12:])


def write(path: Path, stored: np.ndarray, orientation: int, late: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 95}, ".tif": {"compression": "tiff_lzw"}}.get(path.suffix, {})
    Image.fromarray(stored).save(path, **({} if late else {"exif": exif(orientation)}), **options)
    if late:
        late_exif(path, orientation)
    return path


@pytest.fixture(scope="module")
def stored() -> np.ndarray:
    """A picture in which no two corners agree, smooth so that a JPEG keeps it."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.stack([rows * 12, columns * 9, rows * 3 + columns * 5], -1).astype(np.uint8)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", [".jpg", ".png", "late.png", ".tif", "plain.tiff", ".webp"])
def test_pictures_are_read_upright(tmp_path: Path, stored: np.ndarray, kind: str, orientation: int) -> None:
    path = write(tmp_path / f"a{kind}", stored, orientation, kind.startswith("late"))
    upright = UPRIGHT[orientation](stored)
    found = read_rgb(path)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() < 12  # of a JPEG
    assert images.read_rgb is read_rgb  # of `predict`


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_labels_follow_the_same_rule(tmp_path: Path, orientation: int) -> None:
    ids = np.arange(ROWS * COLUMNS, dtype=np.uint8).reshape(ROWS, COLUMNS) % 19
    np.testing.assert_array_equal(read_indices(write(tmp_path / "ids.png", ids, orientation)), UPRIGHT[orientation](ids))
    np.testing.assert_array_equal(read_indices(write(tmp_path / "ids.tif", ids, orientation)), UPRIGHT[orientation](ids))
    colours = np.stack([ids, ids + 1, ids + 2], -1)
    codes = colours @ np.array([1, 256, 65536], np.uint32)
    np.testing.assert_array_equal(read_codes(write(tmp_path / "colours.png", colours, orientation)), UPRIGHT[orientation](codes))


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_a_tag_that_means_nothing_is_none(tmp_path: Path, stored: np.ndarray, value: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = value
    Image.fromarray(stored).save(tmp_path / "a.png", exif=tags)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), stored)


def test_damaged_exif_data_are_none(tmp_path: Path, stored: np.ndarray) -> None:
    path = write(tmp_path / "a.jpg", stored, 1)
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1\x00\x10Exif\0\0garbage!" + content[2:])
    assert read_rgb(path).shape == stored.shape


@pytest.fixture
def root(tmp_path: Path, stored: np.ndarray) -> Path:
    """Photos of each orientation, with labels that were drawn on what viewers show."""
    for orientation in UPRIGHT:
        path = write(tmp_path / "own" / "images" / f"{orientation}.jpg", stored, orientation)
        height, width = UPRIGHT[orientation](stored).shape[:2]
        write_grey(tmp_path / "own" / "labels" / f"{path.stem}.png", np.full((height, width), 3, np.uint8))
    return tmp_path / "own"


def test_training_evaluation_and_statistics_agree(root: Path, stored: np.ndarray) -> None:
    domain = FolderDomain(root, "test", test_split="all")
    for sample in domain.samples:
        image, label = domain.read_pair(sample)
        assert image.shape[:2] == label.shape == UPRIGHT[int(sample.name)](stored).shape[:2]
        np.testing.assert_array_equal(image, read_rgb(sample.image))
    assert class_counts(domain, 0).sum() == len(UPRIGHT) * ROWS * COLUMNS
    batches = list(FolderDataModule(root, test_split="all").test_dataloader())
    assert [tuple(batch["image"].shape[2:]) for batch in batches] == [UPRIGHT[number](stored).shape[:2] for number in UPRIGHT]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_size_mismatch_names_the_tag(root: Path, orientation: int) -> None:
    write_grey(root / "labels" / f"{orientation}.png", stripes([1] * 8)[:1].repeat(ROWS, 0))  # as stored
    domain = FolderDomain(root, "test", test_split="all")
    with pytest.raises(
        DataError, match=rf"{COLUMNS}x{ROWS} .*(?s:.*){orientation}.jpg \(EXIF orientation {orientation}\).*take the tag out"
    ):
        domain[orientation - 1]
    write_grey(root / "labels" / "1.png", stripes([1]))
    with pytest.raises(DataError, match="differ in size") as error:
        domain[0]
    assert "EXIF" not in str(error.value)
