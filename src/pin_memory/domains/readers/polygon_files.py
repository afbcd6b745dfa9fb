"""Annotations as COCO, labelme and CVAT (for images 1.1) write them: for each image its size, and named areas in the order of the file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np

from pin_memory.utils.errors import DataError
from pin_memory.utils.files import read_text
from pin_memory.utils.names import composed
from pin_memory.utils.safe_load import read_json

FAULTS = (ValueError, OverflowError, KeyError, TypeError, AttributeError, IndexError, ElementTree.ParseError, cv2.error)
_CORNERS = 90  # of the polygon that stands for an ellipse
Shapes = list[tuple[str | None, Any]]
"""A name (None: ignored) and an area: polygons x, y, x, y, ..., COCO's runs, or the runs of a box."""


class Frame(NamedTuple):
    """An image's size and its `Shapes`, as JSON text: millions of small objects would take gigabytes in each process."""

    height: int
    width: int
    shapes: bytes


_ADVICE = "draw it as a polygon, or delete it, in the tool that wrote the file"


class Annotations(NamedTuple):
    """What a file holds: frames by the names of their images, and all names of shapes."""

    frames: Mapping[str, Frame]
    names: frozenset[str]


def read_annotations(path: Path, kind: str) -> Annotations:
    """Read a file of a kind, "coco", "labelme" or "cvat"; kept for the next images as long as the file is the same.

    Raises:
        DataError: It cannot be read, or is no complete file of this kind.
    """
    try:
        return _kept(path, path.stat().st_mtime_ns, kind) if kind != "labelme" else _read(path, kind)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except FAULTS as error:
        raise incomplete(path, kind, error) from error


def incomplete(path: Path, kind: str, error: Exception) -> DataError:
    """The error of a file that is damaged, of another kind, or holds what is no area."""
    reason = f"{type(error).__name__}: {error}"
    return DataError(f"{path}: no complete annotations of annotations={kind}; expected {_EXPECTED[kind]}, found {reason}.")


def listed_name(image: PurePath, names: Mapping[str, Any]) -> str | None:
    """The longest end of an image's path that is listed: `a/b.jpg`, else `b.jpg`."""
    parts = [composed(part) for part in image.parts]
    return next((tail for place in range(len(parts)) if (tail := "/".join(parts[place:])) in names), None)


@lru_cache(maxsize=8)
def _kept(path: Path, _changed: int, kind: str) -> Annotations:
    return _read(path, kind)


def _read(path: Path, kind: str) -> Annotations:
    frames: dict[str, Frame] = {}
    names: set[str] = set()
    for file, height, width, shapes in _READERS[kind](path):
        name = composed(file.replace("\\", "/").removeprefix("./"))
        if name in frames:
            raise ValueError(f"the image {name} twice")
        frames[name] = Frame(int(height), int(width), json.dumps(shapes, separators=(",", ":")).encode())
        names.update(name for name, _ in shapes if name is not None)
    return Annotations(frames, frozenset(names))


def _coco(path: Path) -> Iterator[tuple[str, int, int, Shapes]]:
    content = read_json(path)
    names = {int(item["id"]): composed(str(item["name"])) for item in content["categories"]}
    shapes: dict[int, Shapes] = {int(image["id"]): [] for image in content["images"]}
    for item in content["annotations"]:
        if not (area := item["segmentation"]):
            raise ValueError(f"the annotation {item['id']}, which has no polygon: {_ADVICE}")
        name = names[int(item["category_id"])]
        shapes[int(item["image_id"])].append((None if item.get("iscrowd") else name, area))
    for image in content["images"]:
        yield str(image["file_name"]), image["height"], image["width"], shapes[int(image["id"])]


def _labelme(path: Path) -> Iterator[tuple[str, int, int, Shapes]]:
    content = read_json(path)
    shapes: Shapes = []
    for item in content["shapes"]:
        kind, points = item.get("shape_type") or "polygon", [[float(x), float(y)] for x, y in item["points"]]
        name = composed(str(item["label"]))
        if kind == "polygon":
            shapes.append((name, [_flat(points)]))
        elif kind == "rectangle" and len(points) in (2, 4):
            (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)  # of two corners, or of four
            shapes.append((name, [_box(float(left), float(top), float(right), float(bottom))]))
        elif kind == "circle":
            (x, y), edge = points
            radius = float(np.hypot(edge[0] - x, edge[1] - y))
            shapes.append((name, [_ellipse(x, y, radius, radius, 0.0)]))
        else:
            raise ValueError(f"a {kind} of {name}, which is no polygon, rectangle or circle: {_ADVICE}")
    yield path.name, content["imageHeight"], content["imageWidth"], shapes


def _cvat(path: Path) -> Iterator[tuple[str, int, int, Shapes]]:
    root = ElementTree.fromstring(read_text(path).encode())
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(f"the element {'track of a video' if root.tag == 'annotations' else root.tag}")
    for image in root.iter("image"):
        items = [item for item in image if item.tag not in ("tag",)]
        items.sort(key=lambda item: int(item.get("z_order") or 0))  # of one height the order of the file stays
        shapes: Shapes = [(composed(item.attrib["label"]), _cvat_area(item)) for item in items]
        yield image.attrib["name"], int(image.attrib["height"]), int(image.attrib["width"]), shapes


def _cvat_area(item: ElementTree.Element) -> Any:
    """The area of an element of CVAT."""
    numbers = {key: float(value) for key, value in item.attrib.items() if key in _NUMBERS}
    if item.tag == "polygon":
        return [_flat([float(part) for part in point.split(",")] for point in item.attrib["points"].split(";"))]
    if item.tag == "box" and not numbers.get("rotation"):
        return [_box(*(numbers[key] for key in ("xtl", "ytl", "xbr", "ybr")))]
    if item.tag == "ellipse":
        return [_ellipse(numbers["cx"], numbers["cy"], numbers["rx"], numbers["ry"], numbers.get("rotation", 0.0))]
    if item.tag == "mask":
        box = [int(numbers[key]) for key in ("left", "top", "width", "height")]
        return {"box": box, "counts": [int(part) for part in item.attrib["rle"].split(",")]}
    raise ValueError(f"a {item.tag} of {item.get('label')}, which is no polygon, upright box, ellipse or mask: {_ADVICE}")


def _flat(points: Iterable[Iterable[float]]) -> list[float]:
    return [float(value) for x, y in points for value in (x, y)]


def _box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def _ellipse(x: float, y: float, a: float, b: float, degrees: float) -> list[float]:
    """The corners of a polygon in place of an ellipse with half axes, turned clockwise."""
    angle, turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False), np.deg2rad(degrees)
    along, across = a * np.cos(angle), b * np.sin(angle)
    corners = np.stack([x + along * np.cos(turn) - across * np.sin(turn), y + along * np.sin(turn) + across * np.cos(turn)], axis=1)
    return [float(value) for value in corners.ravel()]


_NUMBERS = ("xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation", "left", "top", "width", "height")
_READERS: dict[str, Callable[[Path], Iterator[tuple[str, int, int, Shapes]]]] = {"coco": _coco, "labelme": _labelme, "cvat": _cvat}
_EXPECTED = {
    "coco": "JSON with images (id, file_name, height, width), annotations (image_id, category_id, segmentation) and categories (id, name)",
    "labelme": "JSON with imageHeight, imageWidth and shapes (label, points, shape_type)",
    "cvat": "XML of CVAT for images 1.1: annotations with image (name, width, height) and polygon (label, points)",
}
