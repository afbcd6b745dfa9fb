"""Damaged images, labels and videos, and what reads them: training, the decoders, prediction."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from pin_memory.domains import FolderDataModule, Loading
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.label_maps import read_codes, read_deep_red, read_indices
from pin_memory.prediction import Saving, find_inputs, predict_items
from pin_memory.utils.decoding import read_rgb
from tests.helpers import videos
from tests.helpers.models import Halves
from tests.reliability import mutations
from tests.reliability.cases import SKIPPED, VALID, Case, Originals

SIDE = 48


def scene(seed: int, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """Patches with noise, which compress and still fill every part of a file."""
    generator = np.random.default_rng(seed)
    shape = (SIDE, SIDE, channels) if channels > 1 else (SIDE, SIDE)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype)


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """A picture file."""
    done, content = cv2.imencode(suffix, pixels)
    assert done
    return content.tobytes()


def label_png(seed: int, palette: bool = False) -> bytes:
    """A label map of the 19 train ids."""
    ids = np.random.default_rng(seed).integers(0, 19, (SIDE, SIDE)).astype(np.uint8)
    picture = Image.fromarray(ids)
    if palette:
        picture = picture.convert("P")
        picture.putpalette(bytes(range(256)) * 3)
        picture.putdata(ids.ravel().tolist())
    picture.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def pairs(root: Path, count: int = 6) -> Path:
    """A small data set of one's own; the last fifth is held out."""
    for number in range(count):
        mutations.write(root / "images" / f"{number}.png", encoded(".png", scene(number)))
        mutations.write(root / "labels" / f"{number}.png", label_png(number))
    return root


def train_on(root: Path, policy: str = "raise", **options: Any) -> str:
    """Draw batches as training does, and say what became of bad samples."""
    plain = TrainTransform(32, (1.0, 1.0), 0.0, (0, 0, 0, 0), 0.0, None)
    loading = Loading(batch_size=2, num_workers=0, on_bad_sample=policy, max_bad_share=0.9)
    module = FolderDataModule(root, plain, loading, **options)
    for batch in islice(module.train_dataloader("own"), 5):
        assert set(batch) == {"image", "label", "name"}
        assert batch["image"].shape == (2, 3, 32, 32)
        assert batch["image"].dtype == torch.uint8
        assert (((batch["label"] >= 0) & (batch["label"] < 19)) | (batch["label"] == 255)).all()
        assert len(set(batch["name"]) & set(module.bad_samples.names)) == 0
    return SKIPPED if module.bad_samples.names else VALID


_SUFFIXES = (".png", ".jpg", ".bmp", ".tif", ".webp")


def _picture(pixels: np.ndarray) -> str:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return VALID


def _image(damage: str, number: int) -> Case:
    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        content = mutations.BYTES[damage](encoded(suffix, scene(number)), draw)
        way = number % 4
        if way == 0:
            path = mutations.write(folder / f"image{suffix}", content)
            return lambda: _picture(read_rgb(path)), damage in mutations.NEVER_WHOLE
        if way == 1:
            path = mutations.write(folder / f"image{suffix}", content)
            return lambda: _picture(read_rgb(path)), damage in mutations.NEVER_WHOLE
        root = pairs(folder / "own")
        (root / "images" / "2.png").unlink()
        mutations.write(root / "images" / f"2{suffix}", content)
        policy = "skip" if way == 2 else "raise"
        return lambda: train_on(root, policy), damage in mutations.NEVER_WHOLE

    return Case("image", number, damage, make)


def _odd_image(number: int) -> Case:
    kinds = (
        "16 bit", "grey", "alpha", "palette", "wrong suffix", "60000x60000", "1x90000000", "0 wide", "text chunk bomb", "16 bit grey",
        "cmyk", "animation", "eps", "folder", "broken link", "pipe", "sparse 2 GiB", "other size", "huge tiff", "svg",
    )  # fmt: skip
    damage = kinds[number % len(kinds)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        root = pairs(folder / "own")
        path = root / "images" / "2.png"
        path.unlink()
        _ODD[damage](path, draw)
        whole = damage in ("16 bit", "grey", "alpha", "palette", "wrong suffix", "16 bit grey", "cmyk", "animation")
        read = (lambda: _picture(read_rgb(path))) if number % 2 else (lambda: train_on(root, "skip" if number % 3 else "raise"))
        return read, not whole and not (damage == "other size" and number % 2)  # fine by itself, not with its label

    return Case("image", 1000 + number, damage.replace(" ", "_"), make)


def _bomb_text(path: Path, draw: random.Random) -> None:
    body = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    content = mutations.png_claiming(10, 10)
    path.write_bytes(content[:33] + chunk + content[33:])


def _huge_tiff(path: Path, draw: random.Random) -> None:
    entries = [(256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1),
               (278, 4, 1, 100_000), (279, 4, 1, 100)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(200))


def _sparse(path: Path, draw: random.Random) -> None:
    path.write_bytes(mutations.png_claiming(10, 10))
    os.truncate(path, 2**31)


def _animation(path: Path, draw: random.Random) -> None:
    frames = [Image.fromarray(scene(number)) for number in range(3)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


_ODD: dict[str, Callable[[Path, random.Random], Any]] = {
    "16 bit": lambda path, draw: path.write_bytes(encoded(".png", scene(1, 3, np.uint16))),
    "16 bit grey": lambda path, draw: path.write_bytes(encoded(".png", scene(1, 1, np.uint16))),
    "grey": lambda path, draw: path.write_bytes(encoded(".png", scene(1, 1))),
    "alpha": lambda path, draw: path.write_bytes(encoded(".png", scene(1, 4))),
    "palette": lambda path, draw: path.write_bytes(label_png(1, palette=True)),
    "wrong suffix": lambda path, draw: path.write_bytes(encoded(".jpg", scene(1))),
    "60000x60000": lambda path, draw: path.write_bytes(mutations.png_claiming(60_000, 60_000)),
    "1x90000000": lambda path, draw: path.write_bytes(mutations.png_claiming(1, 90_000_000)),
    "0 wide": lambda path, draw: path.write_bytes(mutations.png_claiming(0, 10)),
    "text chunk bomb": _bomb_text,
    "cmyk": lambda path, draw: Image.fromarray(scene(1)).convert("CMYK").save(path, "JPEG"),
    "animation": _animation,
    "eps": lambda path, draw: Image.fromarray(scene(1)).save(path, "EPS"),
    "folder": lambda path, draw: path.mkdir(),
    "broken link": lambda path, draw: path.symlink_to(path.with_name("nowhere.png")),
    "pipe": lambda path, draw: os.mkfifo(path),
    "sparse 2 GiB": _sparse,
    "other size": lambda path, draw: (
        path.write_bytes(encoded(".png", scene(1)[:, :40])) and path.parent.joinpath("3.png").write_bytes(b"\x89PNG")
    ),
    "huge tiff": _huge_tiff,
    "svg": lambda path, draw: path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="60000" height="60000"/>'),
}


def _label(damage: str, number: int) -> Case:
    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        root = pairs(folder / "own")
        way = number % 5
        content = {3: encoded(".png", scene(number)), 4: encoded(".png", scene(number, 3, np.uint16))}.get(way, label_png(number, way == 1))
        path = mutations.write(root / "labels" / "2.png", mutations.BYTES[damage](content, draw))
        readers: tuple[Callable[[], str], ...] = (
            lambda: train_on(root, "skip"), lambda: train_on(root), lambda: require_map(read_indices(path)),
            lambda: require_map(read_codes(path)),
            lambda: _deep(read_deep_red(path)),
        )  # fmt: skip
        return readers[way], damage in mutations.NEVER_WHOLE

    return Case("label", number, damage, make)


def require_map(ids: np.ndarray) -> str:
    assert ids.ndim == 2
    return VALID


def _deep(pixels: np.ndarray) -> str:
    assert pixels.dtype == np.uint16
    return VALID


def _odd_label(number: int) -> Case:
    kinds = ("colours", "16 bit", "other size", "ids of no class", "jpeg", "60000x60000", "turned", "alpha", "pipe", "1 bit")
    damage = kinds[number % len(kinds)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        root = pairs(folder / "own")
        path = root / "labels" / "2.png"
        path.unlink()
        ids = np.random.default_rng(number).integers(0, 19, (SIDE, SIDE)).astype(np.uint8)
        made: dict[str, Callable[[], Any]] = {
            "colours": lambda: path.write_bytes(encoded(".png", scene(number))),
            "16 bit": lambda: path.write_bytes(encoded(".png", ids.astype(np.uint16))),
            "other size": lambda: path.write_bytes(encoded(".png", ids[: draw.randint(1, 40)])),
            "ids of no class": lambda: path.write_bytes(encoded(".png", ids + 100)),
            "jpeg": lambda: path.write_bytes(encoded(".jpg", ids)),
            "60000x60000": lambda: path.write_bytes(mutations.png_claiming(60_000, 60_000, 8, 0)),
            "turned": lambda: path.write_bytes(encoded(".png", np.pad(ids, ((0, 9), (0, 0))).T.copy())),
            "alpha": lambda: path.write_bytes(encoded(".png", scene(number, 4))),
            "pipe": lambda: os.mkfifo(path),
            "1 bit": lambda: Image.fromarray(ids > 9).save(path),
        }
        made[damage]()
        return lambda: train_on(root, "skip" if number % 2 else "raise"), damage not in ("16 bit", "ids of no class", "1 bit")

    return Case("label", 1000 + number, damage.replace(" ", "_"), make)


def _prediction(number: int) -> Case:
    video = number % 3 == 0
    damage = list(mutations.BYTES)[number % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        source = folder / "in"
        source.mkdir()
        if video:
            videos.make(source / "drive.mp4")
            path = source / "drive.mp4"
        else:
            path = mutations.write(source / "a.png", encoded(".png", scene(number)))
        path.write_bytes(mutations.BYTES[damage](path.read_bytes(), draw))
        mutations.write(source / "whole.png", encoded(".png", scene(1)))

        def read() -> str:
            inputs = find_inputs([str(path), str(source / "whole.png")], folder / "out")
            outcome = predict_items(Halves(), inputs.items, folder / "out", Saving(("overlay",)), 2, 1)
            made = {str(item.path) for item in outcome.made}
            assert str(source / "whole.png") in made  # others are not kept from being segmented
            written = [file.name for file in (folder / "out").rglob("*") if file.is_file()]
            assert not [name for name in written if name.startswith(".")]
            if outcome.unreadable:
                assert len(outcome.unreadable) == 1
                assert path.name in outcome.unreadable[0]
                assert str(path) not in made
                return "named at the end, the others segmented"
            return VALID

        return read, damage in mutations.NEVER_WHOLE

    return Case("picture or video to predict", number, damage, make)


def cases() -> Iterator[Case]:
    """All of this file."""
    yield from (_image(damage, number) for number, damage in enumerate(list(mutations.BYTES) * 12))
    yield from map(_odd_image, range(40))
    yield from (_label(damage, number) for number, damage in enumerate(list(mutations.BYTES) * 9))
    yield from map(_odd_label, range(20))
    yield from map(_prediction, range(30))
