"""The stand-ins on disk: each look in the folder layout, file names and label encoding of the data set it stands in for."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from PIL import Image
from pydantic import Field

from pin_memory.domains.stand_ins.looks import LOOKS
from pin_memory.domains.stand_ins.models import CODES
from pin_memory.domains.stand_ins.scenes import Scene, draw_scene
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import report_write_errors
from pin_memory.utils.labels import CLASSES, PALETTE
from pin_memory.utils.safe_load import read_json
from pin_memory.utils.validation import validated

MARKER = "stand_in.json"
"""File by which a folder of stand-ins differs from one of real data."""

_VERSION = 4  # of the drawing: raise it when pictures change, so that older ones are drawn anew
_NOTE = "Drawn stand-ins, not real data: they only show that everything runs. Scores on them say nothing about the real data sets."

# Image and label of each look's data set, below its folder. Odd frames of IDD have names as in its second part and are JPEGs, as users
# have them who unpack both parts into one folder; the drives are of the first part, which is what the literature means by IDD.
_FILES = {
    "G": ("images/{number:05}.png", "labels/{number:05}.png"),
    "S": ("RAND_CITYSCAPES/RGB/{index:07}.png", "RAND_CITYSCAPES/GT/LABELS/{index:07}.png"),
    "I": ("leftImg8bit/{split}/{drive:03}/{frame}_leftImg8bit.{suffix}", "gtFine/{split}/{drive:03}/{frame}_gtFine_polygons.json"),
    "C": ("leftImg8bit/{split}/drawn/{city_frame}_leftImg8bit.png", "gtFine/{split}/drawn/{city_frame}_gtFine_labelIds.png"),
    "B": ("images/10k/{split}/{key:08x}-{index:08x}.jpg", "labels/sem_seg/masks/{split}/{key:08x}-{index:08x}.png"),
    "M": ("{folder}/images/drawn-{index:016}.jpg", "{folder}/labels/drawn-{index:016}.png"),
}
# Raw ids of the 19 classes, then of the details: lane marking, kerb, licence plate, ego vehicle
_CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, 7, 8, 26, 1)
_RAW_IDS = {
    "G": np.array((*_CITYSCAPES[:21], 34, *_CITYSCAPES[22:]), np.uint8),
    "S": np.array((3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11, 22, 4, 8, 0, 0), np.uint8),
    "C": np.array(_CITYSCAPES, np.uint8),
    "B": np.array((*range(19), 0, 1, 13, 255), np.uint8),
    "M": np.array((13, 15, 17, 6, 3, 45, 48, 50, 30, 29, 27, 19, 20, 55, 61, 54, 58, 57, 52, 24, 2, 55, 64), np.uint8),
}
_IDD = (*CLASSES, "road", "curb", "license plate", "ego vehicle")
_IDD_NAMES = tuple("non-drivable fallback" if name == "terrain" else name for name in _IDD)

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # newer OpenCV: one filter instead of trying all halves the time
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]

_MOVING = [CODES[name] for name in ("person", "rider", "car", "bus", "motorcycle", "bicycle")]


@validated("")
class StandIns:
    """The six drawn data sets below one folder, made once.

    Args:
        root: Folder to make; it gets `gtav`, `synthia`, `idd`, `cityscapes`, `bdd100k`, `mapillary` and `stand_in.json`.
        images_per_domain: Training images per data set; a quarter as many (at least 4) are drawn for validation.
        seed: Seed of all drawings.
        width: Width of the pictures in pixels.

    Raises:
        ConfigurationError: No images are asked for, or too small ones.
    """

    def __init__(
        self,
        root: str | Path,
        images_per_domain: Annotated[int, Field(ge=1, le=100_000)] = 40,
        seed: int = 304,
        width: Annotated[int, Field(ge=96, le=8192)] = 400,
    ) -> None:
        self.root = Path(root)
        self.images_per_domain, self.seed, self.width = images_per_domain, seed, width
        self.settings = {"version": _VERSION, "images_per_domain": images_per_domain, "seed": seed, "width": width}

    def prepare(self) -> bool:
        """Draw the stand-ins unless `root` already holds these; the folder appears complete or not at all.

        Returns:
            Whether anything was drawn.

        Raises:
            DataError: `root` holds something that is not a set of stand-ins.
        """
        if self.is_there():
            return False
        place, prefix = self.root.parent, f".{self.root.name}."
        with (
            report_write_errors(self.root, "the stand-ins to "),
            _made(place),
            tempfile.TemporaryDirectory(dir=place, prefix=prefix) as temporary,
        ):
            fresh = Path(temporary) / "fresh"  # a folder of its own, since the temporary one is closed to other users
            for look in LOOKS:
                for index in range(self.images_per_domain + max(4, self.images_per_domain // 4)):
                    split = "train" if index < self.images_per_domain else "val"
                    write_pair(fresh, look, split, index, draw_scene(look, self.seed, index, self.width))
            (fresh / MARKER).write_text(json.dumps({"note": _NOTE, **self.settings}, indent=2) + "\n", encoding="utf-8")
            if self.is_there():  # another process was quicker
                return False
            if self.root.exists():
                self.root.rename(Path(temporary) / "old")
            fresh.rename(self.root)
        return True

    def is_there(self) -> bool:
        """Whether `root` holds stand-ins of these settings.

        Raises:
            DataError: It holds anything that is not a stand-in.
        """
        marker = self.root / MARKER
        if marker.is_file():
            try:
                found = read_json(marker)
            except (OSError, ValueError) as error:
                raise DataError(f"{marker} cannot be read ({error}). Remove this folder, or give another one.") from error
            if not isinstance(found, dict):
                raise DataError(f"{marker} holds no settings of stand-ins. Remove this folder, or give another one.")
            return all(found.get(key) == value for key, value in self.settings.items())
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise DataError(
                f"Stand-ins are written to a folder of their own, but {self.root} exists, is not empty and holds no {MARKER}. "
                "Nothing was changed. Give another folder, or empty this one."
            )
        return False


def write_pair(root: Path, look: str, split: str, index: int, scene: Scene) -> None:
    """Write image and label below `root` as the look's data set names and encodes them."""
    even = index % 2 == 0
    names = {"folder": "training" if split == "train" else "validation", "key": index * 2654435761 % 2**32, "drive": index % 200}
    names |= {"frame": f"{index:06}" if even else f"frame{index}", "suffix": "png" if even else "jpg"}
    names |= {"split": split, "index": index, "number": index + 1, "city_frame": f"drawn_000000_{index:06}"}
    image, label = (root / LOOKS[look].domain / path.format(**names) for path in _FILES[look])
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    _write(image, cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
    if look == "I":
        _write_polygons(label, scene.detail)
        return
    raw = _RAW_IDS[look][scene.detail]
    if look in "GM":
        _write_palette(label, raw, _RAW_IDS[look])
    elif look == "S":
        moving = np.isin(scene.detail, _MOVING).astype(np.uint8)
        # Instance numbers beyond 8 bits, as in the real set, where readers trip over them.
        instances = np.where(moving, cv2.connectedComponents(moving)[1] + 250, 0)
        _write(label, np.dstack([np.zeros_like(raw), instances, raw]).astype(np.uint16))  # OpenCV's order: blue, green, red
    else:
        _write(label, raw)


def _write_polygons(path: Path, detail: np.ndarray) -> None:
    height, width = detail.shape
    # As text at once: thousands of small lists would keep the garbage collector busy, which takes longer than the drawing.
    objects = [
        f'{{"label": "{item["label"]}", "deleted": 0, "polygon": [{", ".join(map("[{}, {}]".format, *item["polygon"].T.tolist()))}]}}'
        for item in polygons(detail)
    ]
    path.write_text(f'{{"imgHeight": {height}, "imgWidth": {width}, "objects": [{", ".join(objects)}]}}', encoding="utf-8")


def polygons(detail: np.ndarray) -> list[dict[str, Any]]:
    """Outline all regions of a code map as IDD objects (label; polygon, (n, 2) of x and y), such that drawing them in order restores it.

    An outline swallows its region's holes, so a region must come before what lies in its holes: sorted by bounding box, larger first.
    """
    names = sorted(set(_IDD_NAMES))
    regions = np.array([names.index(name) for name in _IDD_NAMES], np.uint8)[detail]
    found: list[tuple[int, str, np.ndarray]] = []
    for region in np.flatnonzero(np.bincount(regions.ravel(), minlength=len(names))):
        contours, family = cv2.findContours(cv2.inRange(regions, int(region), int(region)), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for contour, (_, _, _, parent) in zip(contours, family.reshape(-1, 4), strict=True):
            if parent < 0:  # an outline, not a hole
                _, _, width, height = cv2.boundingRect(contour)
                found.append((width * height, names[region], contour[:, 0]))
    return [
        {"label": name, "polygon": points if len(points) > 2 else np.concatenate([points, points, points])}
        for _, name, points in sorted(found, key=lambda item: -item[0])
    ]


def _write(path: Path, pixels: np.ndarray) -> None:
    """Write a label map or a picture in OpenCV's order of channels, as PNG or JPEG by the suffix."""
    options = _PNG if path.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 85]
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; where the block fails, the folders that were made for it go again."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # another process has put something into it, or there is none
                place.rmdir()
        raise


def _write_palette(path: Path, label: np.ndarray, raw_ids: np.ndarray) -> None:
    colours = np.full((256, 3), 20, np.uint8)
    for train, raw in enumerate(raw_ids[: len(CLASSES)]):
        colours[raw] = PALETTE[train]
    picture = Image.fromarray(label)
    picture.putpalette(colours.ravel().tolist())
    picture.save(path, compress_level=1)
