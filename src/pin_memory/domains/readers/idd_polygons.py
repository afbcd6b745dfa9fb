"""The labels of IDD: its classes, and polygons drawn as the data set's own tool draws them, kept in the user's cache folder."""

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pin_memory.domains.readers.decoding import max_pixels, read_indices
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import atomic_write, cache_folder
from pin_memory.utils.labels import CLASSES, label_table
from pin_memory.utils.safe_load import read_json

# Every class of the data set, in the order of its ids. A name that is one of the 19 means that class.
_CLASSES = (
    "road, parking, drivable fallback, sidewalk, rail track, non-drivable fallback, person, animal, rider, motorcycle, bicycle, "
    "autorickshaw, car, truck, bus, caravan, trailer, train, vehicle fallback, curb, wall, fence, guard rail, billboard, traffic sign, "
    "traffic light, pole, polegroup, obs-str-bar-fallback, building, bridge, tunnel, vegetation, sky, fallback background, unlabeled, "
    "ego vehicle, rectification border, out of roi, license plate"
)
_IDS = {name: number for number, name in enumerate(_CLASSES.split(", "))}
_MAX_SIDE = 20_000  # pixels, ten times that of the data set
_MAX_BYTES = 2**26  # of a file: 64 MiB, a hundred times that of the data set
_VERSION = 1  # of the drawing: raise it when maps change, so that older ones are drawn anew

ID_TABLE = label_table({_IDS[name]: train_id for train_id, name in enumerate(CLASSES) if name in _IDS} | {_IDS["non-drivable fallback"]: 9})
"""Train id of each id of IDD, (256,) uint8."""

IDS = len(_IDS)
"""The number of ids of IDD."""

log = logging.getLogger(__name__)


def rasterize(annotation: dict[str, Any]) -> np.ndarray:
    """Draw the objects of an annotation in their order onto an unlabelled map of IDD's ids, (imgHeight, imgWidth) uint8.

    Objects marked as deleted and polygons of less than three points are left out. A label that is unknown but known without a final "group"
    counts as that; other unknown labels are left out.
    """
    width, height = int(annotation["imgWidth"]), int(annotation["imgHeight"])
    # A damaged number must not ask for all memory.
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE and width * height <= max_pixels()):
        raise ValueError(f"a size of {width}x{height}, not within 1..{_MAX_SIDE} and {max_pixels()} pixels in all")
    canvas = Image.new("L", (width, height), _IDS["unlabeled"])
    draw = ImageDraw.Draw(canvas)
    for item in annotation["objects"]:
        name = item["label"] if item["label"] in _IDS else item["label"].removesuffix("group")
        polygon = [(float(x), float(y)) for x, y in item["polygon"]]
        if name in _IDS and len(polygon) >= 3 and not item.get("deleted"):
            draw.polygon(polygon, fill=_IDS[name])
    return np.array(canvas)


def read_polygons(path: Path) -> np.ndarray:
    """Draw the polygons of a frame, (H, W) uint8 ids of IDD."""
    try:
        return rasterize(read_json(path, _MAX_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, SystemError) as error:
        raise DataError(
            f"{path}: not a complete IDD label: expected JSON with imgWidth, imgHeight and objects of label and polygon, "
            f"found {type(error).__name__}: {error}. Get this file again."
        ) from error


def cached_polygons(path: Path) -> np.ndarray:
    """Draw the polygons of a frame once, and keep the map as a PNG in the user's cache folder.

    A file that changed (another size or time) is drawn anew, and so is one whose map is damaged.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    key = f"{_VERSION}\n{path.absolute()}\n{state.st_size}\n{state.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    entry = cache_folder("idd_polygons", digest[:2]) / f"{digest}.png"
    with suppress(DataError):  # not there yet, or damaged
        return read_indices(entry)
    label = read_polygons(path)
    try:
        with atomic_write(entry) as temporary:
            Image.fromarray(label).save(temporary, compress_level=1)
    except OSError as error:
        log.warning("IDD: drawn polygons cannot be kept in %s (%s); they are drawn each time.", entry.parent, error)
    return label
