"""IDD (India Driving Dataset; Varma et al., WACV 2019): 6,993 training and 981 validation frames labelled with polygons."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from pin_memory.domains.base import Domain
from pin_memory.domains.classes import IGNORE, label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import TRAIN_AND_VAL, Layout
from pin_memory.errors import DataError

# Every class of the data set, in the order of its ids, with its train id.
_CLASSES = {
    "road": 0,
    "parking": IGNORE,
    "drivable fallback": IGNORE,
    "sidewalk": 1,
    "rail track": IGNORE,
    "non-drivable fallback": 9,
    "person": 11,
    "animal": IGNORE,
    "rider": 12,
    "motorcycle": 17,
    "bicycle": 18,
    "autorickshaw": IGNORE,
    "car": 13,
    "truck": 14,
    "bus": 15,
    "caravan": IGNORE,
    "trailer": IGNORE,
    "train": 16,
    "vehicle fallback": IGNORE,
    "curb": IGNORE,
    "wall": 3,
    "fence": 4,
    "guard rail": IGNORE,
    "billboard": IGNORE,
    "traffic sign": 7,
    "traffic light": 6,
    "pole": 5,
    "polegroup": IGNORE,
    "obs-str-bar-fallback": IGNORE,
    "building": 2,
    "bridge": IGNORE,
    "tunnel": IGNORE,
    "vegetation": 8,
    "sky": 10,
    "fallback background": IGNORE,
    "unlabeled": IGNORE,
    "ego vehicle": IGNORE,
    "rectification border": IGNORE,
    "out of roi": IGNORE,
    "license plate": IGNORE,
}
_IDS = {name: number for number, name in enumerate(_CLASSES)}
_MAX_SIDE = 20_000  # pixels, ten times that of the data set; a damaged number must not ask for all memory


class IDD(Domain):
    """IDD: polygons in JSON files, drawn as the data set's own tool draws them. Tested on the validation split."""

    title: ClassVar[str] = "IDD (India Driving Dataset, segmentation)"
    tree: ClassVar[str] = """
leftImg8bit/{train,val}/<drive>/<frame>_leftImg8bit.png    (or .jpg)
gtFine/{train,val}/<drive>/<frame>_gtFine_polygons.json
(or both below IDD_Segmentation/)
"""
    download: ClassVar[str] = "idd-segmentation.tar.gz (IDD Segmentation, part I) from idd.insaan.iiit.ac.in (after registration)"
    table = label_table(list(_CLASSES.values()))

    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "polygons as published",
            "leftImg8bit/{split}",
            "gtFine/{split}",
            r"(.+)_leftImg8bit\.(?:png|jpg)",
            r"(.+)_gtFine_polygons\.json",
            TRAIN_AND_VAL,
            encoding="polygons",
        ),
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "IDD_Segmentation")

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Draw the polygons of a frame, (H, W) uint8 ids."""
        try:
            return rasterize(json.loads(path.read_bytes()))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: not a whole IDD label: expected JSON with imgWidth, imgHeight and objects of label and polygon, "
                f"found {type(error).__name__}: {error}. Get this file again."
            ) from error


def rasterize(annotation: dict[str, Any]) -> np.ndarray:
    """Draw the objects of an annotation in their order onto an unlabelled map.

    Objects marked as deleted and polygons of less than three points are left out. A label that is unknown but known without a final "group"
    counts as that; other unknown labels are left out.

    Args:
        annotation: "imgWidth", "imgHeight" and "objects", each of "label" and "polygon" [[x, y], ...] in pixels.

    Returns:
        Ids of IDD, (imgHeight, imgWidth) uint8.

    Raises:
        ValueError: The size is none of a picture.
    """
    width, height = int(annotation["imgWidth"]), int(annotation["imgHeight"])
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise ValueError(f"a size of {width}x{height}, not within 1..{_MAX_SIDE} pixels")
    canvas = Image.new("L", (width, height), _IDS["unlabeled"])
    draw = ImageDraw.Draw(canvas)
    for item in annotation["objects"]:
        name = item["label"] if item["label"] in _IDS else item["label"].removesuffix("group")
        polygon = [(float(x), float(y)) for x, y in item["polygon"]]
        if name in _IDS and len(polygon) >= 3 and not item.get("deleted"):
            draw.polygon(polygon, fill=_IDS[name])
    return np.array(canvas)


class IDDDataModule(DomainDataModule):
    """IDD as a data module."""

    reader = IDD
