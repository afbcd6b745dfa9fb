"""Maps of ids in every mode that holds them exactly are read, all others are refused for what they really are."""

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pin_memory.domains import FolderDomain
from pin_memory.domains.readers.label_maps import read_codes, read_indices
from pin_memory.utils.errors import DataError
from tests.domains.readers.domain_cases import write_image
from tests.utils.test_decoding import write_png

IDS = (np.arange(24, dtype=np.uint8).reshape(4, 6) * 7) % 200
IDS[0, 0] = 255
Write = Callable[[Path, np.ndarray], object]


def grey(ids: np.ndarray, channels: int, kind: type = np.uint8) -> np.ndarray:
    return np.repeat(ids.astype(kind)[..., None], channels, -1)


def rgba(path: Path, ids: np.ndarray) -> None:
    """Half of it transparent, as tools mark what has no class."""
    pixels = grey(ids, 4)
    pixels[..., 3] = np.where(np.arange(ids.size).reshape(ids.shape) % 2, 255, 0)
    Image.fromarray(pixels).save(path)


def deep_rows(path: Path, ids: np.ndarray, colour: int, channels: int) -> None:
    write_png(path, [row.astype(">u2").tobytes() for row in grey(ids, channels, np.uint16)], ids.shape[1], ids.shape[0], 16, colour)


def palette_with_opacity(path: Path, ids: np.ndarray) -> None:
    picture = Image.fromarray(ids)
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path, transparency=bytes(range(256)))


def tiff(path: Path, values: np.ndarray, bits: int, sample_format: int) -> None:
    """An uncompressed TIFF with numbers of any kind."""
    entries = [(256, 4, values.shape[1]), (257, 4, values.shape[0]), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1),
               (278, 4, values.shape[0]), (279, 4, values.nbytes), (339, 3, sample_format)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes((b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed).ljust(200, b"\0") + values.tobytes())


def pgm(path: Path, values: np.ndarray, white: int, plain: bool = False) -> None:
    """A grey map of Netpbm, which says itself which value is white."""
    rows = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2" if white > 255 else np.uint8).tobytes()
    path.write_bytes(f"P{2 if plain else 5} {values.shape[1]} {values.shape[0]} {white}\n".encode() + rows)


READ: Mapping[str, Write] = {
    "16 bit.png": lambda path, ids: Image.fromarray(ids.astype(np.uint16)).save(path),
    "16 bit.tif": lambda path, ids: Image.fromarray(ids.astype(np.uint16)).save(path),
    "16 bit, compressed.tif": lambda path, ids: Image.fromarray(ids.astype(np.uint16)).save(path, compression="tiff_lzw"),
    "16 bit, big-endian.tif": lambda path, ids: Image.frombytes("I;16B", ids.shape[::-1], ids.astype(">u2").tobytes()).save(path),
    "16 bit.pgm": lambda path, ids: cv2.imwrite(str(path), ids.astype(np.uint16)),
    "values up to 1000.pgm": lambda path, ids: pgm(path, ids, 1000),
    "int16.tif": lambda path, ids: tiff(path, ids.astype("<i2"), 16, 2),
    "int32.tif": lambda path, ids: Image.fromarray(ids.astype(np.int32)).save(path),
    "uint32.tif": lambda path, ids: tiff(path, ids.astype("<u4"), 32, 1),
    "float32.tif": lambda path, ids: Image.fromarray(ids.astype(np.float32)).save(path),
    "rgb.png": lambda path, ids: Image.fromarray(grey(ids, 3)).save(path),
    "rgb.bmp": lambda path, ids: Image.fromarray(grey(ids, 3)).save(path),
    "rgb.tif": lambda path, ids: Image.fromarray(grey(ids, 3)).save(path),
    "rgb, lossless.webp": lambda path, ids: Image.fromarray(grey(ids, 3)).save(path, lossless=True),
    "rgb, lossless.jp2": lambda path, ids: Image.fromarray(grey(ids, 3)).save(path),
    "rgba, partly transparent.png": rgba,
    "rgb of 16 bit.png": lambda path, ids: deep_rows(path, ids, 2, 3),
    "rgba of 16 bit.png": lambda path, ids: deep_rows(path, ids, 6, 4),
    "grey with opacity.png": lambda path, ids: Image.merge("LA", [Image.fromarray(ids), Image.fromarray(255 - ids)]).save(path),
    "palette with opacity.png": palette_with_opacity,
}


@pytest.mark.parametrize("kind", READ)
def test_small_ids_are_read_whatever_holds_them(tmp_path: Path, kind: str) -> None:
    READ[kind](tmp_path / kind, IDS)
    found = read_indices(tmp_path / kind)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_few_bits(tmp_path: Path, bits: int, suffix: str) -> None:
    ids = np.arange(8, dtype=np.uint8) % 2**bits
    row = np.packbits(np.unpackbits(ids[:, None], axis=1)[:, -bits:]).tobytes()
    if suffix == ".png":
        write_png(tmp_path / "a.png", [row] * 3, 8, 3, bits)
    else:
        packed = np.frombuffer(row * 3, np.uint8).reshape(3, -1)
        tiff(tmp_path / "a.tif", packed, bits, 1)
        content = bytearray((tmp_path / "a.tif").read_bytes())
        content[18:22] = struct.pack("<I", 8)  # the width in pixels, not in bytes
        (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read_indices(tmp_path / f"a{suffix}"), [ids] * 3)


@pytest.mark.parametrize("white", [18, 33, 254, 300])
@pytest.mark.parametrize("plain", [False, True])
def test_values_of_a_pgm_are_not_stretched(tmp_path: Path, white: int, plain: bool) -> None:
    pgm(tmp_path / "a.pgm", IDS % 19, white, plain)
    np.testing.assert_array_equal(read_indices(tmp_path / "a.pgm"), IDS % 19)


LOSSY: Mapping[str, Mapping[str, object]] = {
    "a.jpg": {},
    "lossy.webp": {"quality": 80},
    "lossy.jp2": {"irreversible": True, "quality_layers": [20]},
    "lossy.tif": {"compression": "jpeg"},
}


@pytest.mark.parametrize("name", LOSSY)
def test_compression_that_changes_values_is_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(grey(IDS, 3)).save(tmp_path / name, **LOSSY[name])
    for read in (read_indices, read_codes):
        with pytest.raises(DataError, match=rf"{name}: expected a label map, found the format .*, whose compression changes it"):
            read(tmp_path / name)


def values(*numbers: float, kind: type = np.int32) -> np.ndarray:
    return np.array([numbers] * 2, kind)


REFUSED: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "id * 1000 + number.png": (
        lambda path: Image.fromarray(values(7, 26001, 26002, kind=np.uint16)).save(path),
        "up to 26002.*instance map",
    ),
    "id * 256 + number.png": (lambda path: Image.fromarray(values(1792, 6657, kind=np.uint16)).save(path), "up to 6657.*instance map"),
    "int32 instances.tif": (lambda path: Image.fromarray(values(7, 26_000_001)).save(path), "up to 26000001.*instance map"),
    "void of 16 bits.png": (lambda path: Image.fromarray(values(0, 18, 65535, kind=np.uint16)).save(path), r"0\.\.18 and 65535.*write 255"),
    "stretched.png": (lambda path: Image.fromarray(IDS * np.uint16(257)).save(path), r"multiples of 257.*// 257"),
    "negative.tif": (lambda path: Image.fromarray(values(0, -1)).save(path), "the value -1. Write 255"),
    "fractions.tif": (lambda path: Image.fromarray(values(0, 0.5, kind=np.float32)).save(path), "fractions"),
    "nan.tif": (lambda path: Image.fromarray(values(0, np.nan, kind=np.float32)).save(path), "not finite"),
    "infinite.tif": (lambda path: Image.fromarray(values(0, np.inf, kind=np.float32)).save(path), "not finite"),
    "cmyk.tif": (lambda path: Image.new("CMYK", (3, 3)).save(path), "picture mode CMYK"),
    "opacity of 16 bit.png": (lambda path: deep_rows(path, IDS, 4, 2), "several channels of 16 bits"),
    "large in 16-bit rgb.png": (lambda path: deep_rows(path, IDS.astype(np.uint16) + 300, 2, 3), "values up to"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_ids_is_refused_for_what_it_is(tmp_path: Path, kind: str) -> None:
    write, reason = REFUSED[kind]
    write(tmp_path / kind)
    with pytest.raises(DataError, match=rf"{kind.replace('*', '.').replace('+', '.')}: expected a label map of ids.*{reason}") as error:
        read_indices(tmp_path / kind)
    assert "olour" not in str(error.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(("kind", "bits", "sample_format"), [("<f8", 64, 3), ("<i8", 64, 2), ("<f2", 16, 3)])
def test_kinds_that_are_not_read_are_not_called_damaged(tmp_path: Path, kind: str, bits: int, sample_format: int) -> None:
    tiff(tmp_path / "a.tif", IDS.astype(kind), bits, sample_format)
    with pytest.raises(DataError, match=r"a.tif: cannot be decoded \(a TIFF with pixels of a kind that is not read, or a damaged head"):
        read_indices(tmp_path / "a.tif")


@pytest.mark.parametrize("depth", [8, 16])
def test_colours_are_called_so(tmp_path: Path, depth: int) -> None:
    write_image(tmp_path / "images" / "a.png", 4, 6)
    write_image(tmp_path / "labels" / "a.png", 4, 6)
    if depth == 16:
        with Image.open(tmp_path / "labels" / "a.png") as picture:
            pixels = np.array(picture).astype(np.uint16) * 257
        cv2.imwrite(str(tmp_path / "labels" / "a.png"), pixels)
    domain = FolderDomain(tmp_path, "test", test_split="all")
    with pytest.raises(DataError, match=r"found colours \(picture mode RGB.*Labels that are colours need palette"):
        domain.read_label(domain.samples[0])


def test_the_reason_reaches_the_user_of_own_data(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", 4, 6)
    (tmp_path / "labels").mkdir()
    Image.fromarray(IDS.astype(np.uint16) * 1000).save(tmp_path / "labels" / "a.png")
    domain = FolderDomain(tmp_path, "test", test_split="all")
    with pytest.raises(DataError, match="instance map") as error:
        domain.read_label(domain.samples[0])
    assert "palette" not in str(error.value)


@pytest.mark.parametrize("factor", [1, 257])
def test_colours_of_16_bits_are_read_where_8_hold_them(tmp_path: Path, factor: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1] * np.uint16(factor))
    np.testing.assert_array_equal(read_codes(tmp_path / "a.png"), colours @ np.array([1, 256, 65536], np.uint32))
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1] * np.uint16(3))
    with pytest.raises(DataError, match="all of which count"):
        read_codes(tmp_path / "a.png")


def test_a_damaged_deep_map_is_damaged(tmp_path: Path) -> None:
    deep_rows(tmp_path / "a.png", IDS, 2, 3)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content.replace(zlib.compress(b"")[:2], b"\0\0", 1))
    with pytest.raises(DataError, match="cannot be decoded"):
        read_indices(tmp_path / "a.png")
