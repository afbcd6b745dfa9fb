"""One fault of each kind, planted in a folder of stand-ins."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def pair(root: Path, number: int) -> tuple[Path, Path]:
    """Image and label of a GTAV frame."""
    return root / f"gtav/images/{number:05}.png", root / f"gtav/labels/{number:05}.png"


def repaint(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the indices of a palette PNG."""
    with Image.open(path) as picture:
        palette, raw = picture.getpalette(), np.array(picture)
    changed = Image.fromarray(change(raw))
    changed.putpalette(palette or [])
    changed.save(path)


def corner(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(raw: np.ndarray) -> np.ndarray:
        raw[:8, :8] = value
        return raw

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAULTS: dict[str, tuple[str, Callable[[Path], Path]]] = {}
"""By name: the kind that is to be found, and what plants it and returns the file that is to be named."""


def fault(kind: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def note(plant: Callable[[Path], Path]) -> Callable[[Path], Path]:
        FAULTS[plant.__name__] = kind, plant
        return plant

    return note


@fault("unmatched_image")
def no_label(root: Path) -> Path:
    pair(root, 1)[1].unlink()
    return pair(root, 1)[0]


@fault("unmatched_label")
def no_image(root: Path) -> Path:
    pair(root, 2)[0].unlink()
    return pair(root, 2)[1]


@fault("undecodable")
def cut_label(root: Path) -> Path:
    cut(pair(root, 3)[1])
    return pair(root, 3)[1]


@fault("undecodable")
def empty_image(root: Path) -> Path:
    pair(root, 4)[0].write_bytes(b"")
    return pair(root, 4)[0]


@fault("undecodable")
def text_image(root: Path) -> Path:
    pair(root, 4)[0].write_text("<html>404</html>")
    return pair(root, 4)[0]


@fault("undecodable")
def cut_jpeg(root: Path) -> Path:
    path = sorted((root / "bdd100k").rglob("val/*.jpg"))[1]
    cut(path)
    return path


@fault("undecodable")
def cut_polygons(root: Path) -> Path:
    path = sorted((root / "idd").rglob("train/*/*.json"))[1]
    cut(path)
    return path


@fault("undecodable")
def colour_label(root: Path) -> Path:
    path = pair(root, 5)[1]
    Image.open(path).convert("RGB").save(path)
    return path


@fault("size_mismatch")
def other_size(root: Path) -> Path:
    image, label = pair(root, 6)
    Image.open(label).crop((0, 0, 40, 30)).save(label)
    return image


@fault("all_ignored")
def nothing_labelled(root: Path) -> Path:
    repaint(pair(root, 7)[1], np.zeros_like)
    return pair(root, 7)[1]


@fault("single_class_label")
def only_road(root: Path) -> Path:
    repaint(pair(root, 8)[1], lambda raw: np.full_like(raw, 7))
    return pair(root, 8)[1]


@fault("single_colour_image")
def white(root: Path) -> Path:
    path = pair(root, 9)[0]
    with Image.open(path) as picture:
        size = picture.size
    Image.new("RGB", size, (255, 255, 255)).save(path)
    return path


@fault("unlisted_value")
def unknown_id(root: Path) -> Path:
    repaint(pair(root, 10)[1], corner(200))
    return pair(root, 10)[1]


@fault("missing")
def no_folder(root: Path) -> Path:
    shutil.rmtree(root / "synthia")
    return root / "synthia"


@fault("missing")
def no_labels_folder(root: Path) -> Path:
    shutil.rmtree(root / "mapillary/validation/labels")
    return root / "mapillary"
