"""COCO's instance annotations (Lin et al., ECCV 2014) as label maps: one JSON file for all images, polygons, and runs of pixels."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np

from pin_memory.utils.decoding import check_pixels
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE
from pin_memory.utils.safe_load import read_json

_SHIFT = 4  # bits of a coordinate behind the point that fillPoly gets
_FAULTS = (ValueError, OverflowError, KeyError, TypeError, AttributeError, IndexError, cv2.error)


class Frame(NamedTuple):
    """An image's size and its annotations: JSON text, since millions of small objects would take gigabytes in each process."""

    height: int
    width: int
    annotations: bytes


def read_frames(path: Path) -> Mapping[str, Frame]:
    """The annotated images of a JSON file by the stems of their files; read once per process and state of the file.

    Raises:
        DataError: It cannot be read, or holds no instance annotations.
    """
    try:
        return _read_frames(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except _FAULTS as error:
        raise _incomplete(path, error) from error


@lru_cache(maxsize=2)
def _read_frames(path: Path, _changed: int) -> dict[str, Frame]:
    content = read_json(path)
    by_image: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in content["images"]}
    for item in content["annotations"]:
        own = {key: item[key] for key in ("category_id", "segmentation", "area")} | {"iscrowd": item.get("iscrowd", 0)}
        by_image[int(item["image_id"])].append(own)
    return {
        PurePosixPath(image["file_name"]).stem: Frame(
            int(image["height"]), int(image["width"]), json.dumps(by_image[int(image["id"])], separators=(",", ":")).encode()
        )
        for image in content["images"]
    }


def draw_frame(path: Path, frame: Frame) -> np.ndarray:
    """Draw a frame of the file `path`: category ids, (H, W) uint8, 0 for the background, 255 for crowds.

    Where instances overlap, the smaller one (by COCO's `area`) is seen; crowds lie below all instances.

    Raises:
        DataError: An annotation is damaged.
    """
    check_pixels(path, frame.width, frame.height)
    canvas = np.zeros((frame.height, frame.width), np.uint8)
    try:
        items = json.loads(frame.annotations)
        for item in sorted(items, key=lambda item: (not item["iscrowd"], -float(item["area"]))):
            value = IGNORE if item["iscrowd"] else int(item["category_id"])
            if not 0 < value <= IGNORE:
                raise ValueError(f"the category {value}")
            paint(canvas, item["segmentation"], value)
    except _FAULTS as error:
        raise _incomplete(path, error) from error
    return canvas


def paint(canvas: np.ndarray, segmentation: Any, value: int) -> None:
    """Set the pixels of a list of polygons (x, y, x, y, ...) or of a run-length encoded mask, of all or of a box, to a value."""
    if isinstance(segmentation, Mapping) and "box" in segmentation:
        left, top, width, height = segmentation["box"]
        own = canvas[top : top + height, left : left + width]
        lengths = np.asarray(segmentation["counts"], np.int64)  # along the rows
        if min(left, top) < 0 or own.shape != (height, width) or (lengths < 0).any() or lengths.sum() != height * width:
            raise ValueError(f"a mask of {lengths.sum()} pixels in the box {left}, {top}, {width}x{height}")
        own[np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)] = value
        return
    if isinstance(segmentation, Mapping):
        canvas[decode_runs(segmentation, canvas.shape)] = value
        return
    for polygon in segmentation:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
        if len(corners) > 2:  # a coordinate of 0 is the outer edge of a pixel in COCO, its centre in OpenCV
            points = np.rint((corners - 0.5) * 2**_SHIFT).astype(np.int32)
            cv2.fillPoly(canvas, [points], value, shift=_SHIFT)  # type: ignore[call-overload]  # a number fills one channel


def decode_runs(segmentation: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
    """The mask of a run-length encoding, (H, W) bool: lengths of runs of 0 and 1 in turn, down the columns.

    Args:
        segmentation: "size" (H, W), and "counts", a list of lengths or COCO's compressed text.
        shape: The size of the image, which it has to have.

    Raises:
        ValueError: The size is another one, or the runs do not fill it.
    """
    counts = segmentation["counts"]
    lengths = np.asarray(_uncompressed(counts) if isinstance(counts, str) else counts, np.int64)
    height, width = segmentation["size"]
    if (height, width) != tuple(shape) or (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"runs of {lengths.sum()} pixels and a size of {height}x{width} for an image of {shape[0]}x{shape[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def _uncompressed(text: str) -> list[int]:
    """The lengths in COCO's compressed text: signed numbers of 5 bits a character, from the fourth on the change to the last but one."""
    lengths: list[int] = []
    number = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"the character {character!r} in a run-length encoding")
        number |= (code & 31) << bits
        bits += 5
        if code & 32:  # more of this number follows
            continue
        number -= (code >> 4 & 1) << bits  # the highest bit is the sign
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = bits = 0
    if bits:
        raise ValueError("a run-length encoding that ends early")
    return lengths


def _incomplete(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: not a complete instance annotation of COCO: expected JSON with images (id, file_name, height, width) and annotations"
        f" (image_id, category_id, segmentation, area), found {type(error).__name__}: {error}. Get this file again."
    )
