"""COCO (Lin et al., ECCV 2014): photographs with 80 classes of things, releases of 2014 and 2017."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.coco_masks import draw_frame, read_frames
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Found, Layout, Sample, recognise
from pin_memory.domains.readers.real_files import find_files
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.labels import BACKGROUND, IGNORE, LabelSpace, bit_palette, label_table

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes of COCO in the order of their categories; their train ids are 1 to 80."""

_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # of the category numbers 1 to 90
_CATEGORIES = [number for number in range(1, 91) if number not in _UNUSED]
_BY_CATEGORY = label_table({0: 0} | {category: train_id for train_id, category in enumerate(_CATEGORIES, 1)})
_BY_POSITION = label_table(list(range(len(COCO_CLASSES) + 1)))
_IMAGE = r"(.+)\.jpg"


class Instances(Layout):
    """A tree whose labels are one JSON file for each split."""

    def find(self, root: Path, splits: Sequence[str]) -> Found | None:
        """List the images, and for each image that a file lists that file as its label; None where no split has a folder of images."""
        found = Found(self, root, {}, {})
        places = [[root / part.replace("{split}", inner) for part in (self.images, self.labels)] for inner in self.split_folders(splits)]
        for folder, index in places:
            if folder.is_dir():
                found.images.update(find_files(folder, self.image, self.recursive))
                found.labels.update(dict.fromkeys(read_frames(index) if index.is_file() else (), index))
        return found if any(folder.is_dir() for folder, _ in places) else None


def _layouts(year: int) -> tuple[Layout, ...]:
    """The trees of a release: annotations as published, or a folder of PNGs whose ids are 1 to 80."""
    images = {"as published": f"{{split}}{year}", "images": f"images/{{split}}{year}"}
    shared: dict[str, Any] = {"splits": TRAIN_AND_VAL, "recursive": False}
    index = f"annotations/instances_{{split}}{year}.json"
    published = {"encoding": "instances", "table": _BY_CATEGORY, "raw_ids": frozenset({0, IGNORE, *_CATEGORIES}), **shared}
    drawn = {"encoding": "ids", "table": _BY_POSITION, "raw_ids": frozenset({IGNORE, *range(81)}), **shared}
    return (
        *(Instances(name, folder, index, _IMAGE, "", **published) for name, folder in images.items()),
        *(
            Layout(f"{name}, ids in {masks}", folder, f"{masks}/{{split}}{year}", _IMAGE, r"(.+)\.png", **drawn)
            for masks in ("annotations", "masks")
            for name, folder in images.items()
        ),
    )


_LAYOUTS = {year: _layouts(year) for year in (2014, 2017)}
_COUNTS = {2014: {"train": 82783, "val": 40504}, 2017: {"train": 118287, "val": 5000}}


class COCO(Domain):
    """COCO: instances in one JSON file for each split, drawn when they are read, or PNGs of ids 1 to 80. Evaluated on validation.

    Pixels of no instance are background (0), those of crowds are ignored. See `draw_frame` for instances that overlap.

    Args:
        year: The release, 2014 (COCO-20i is made of) or 2017. The other arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when the JSON file is damaged.
        ConfigurationError: As `Domain`; also when there is no such release.
    """

    title = "COCO"
    tree = """
train2014/<name>.jpg, val2014/<name>.jpg            (or both below images/; of 2017 likewise)
annotations/instances_{train,val}2014.json          (or annotations/{train,val}2014/<name>.png with ids 1..80)
"""
    download = "train2014.zip, val2014.zip and annotations_trainval2014.zip (or those of 2017) from cocodataset.org"
    table = _BY_CATEGORY
    layouts = _LAYOUTS[2014]
    inner_roots = ("", "coco", "COCO2014", "COCO2017")
    label_space = LabelSpace((BACKGROUND, *COCO_CLASSES), bit_palette(len(COCO_CLASSES) + 1))
    classes = (BACKGROUND, *COCO_CLASSES)
    unique_file_names = True

    def __init__(self, root: str | Path, split: str, transform: Transform | None = None, *, year: int = 2014, **options: Any) -> None:
        if year not in _LAYOUTS:
            raise ConfigurationError(f"COCO: year={year!r} is none of {', '.join(map(str, _LAYOUTS))}.")
        self.year = year
        self.layouts, self.official_counts = _LAYOUTS[year], _COUNTS[year]
        super().__init__(root, split, transform, **options)
        self.known_single_colour = frozenset(sample.name for sample in self.samples)  # some show no thing, and a thing may fill others

    def find(self) -> Found:
        """List the files; images that a JSON file lists and that are not there are noted."""
        found = super().find()
        absent = found.unpaired_labels
        if not isinstance(found.layout, Instances) or not absent:
            return found
        self.note(f"{len(absent)} annotated frames have no image and are left out: {first_names(absent)}")
        return replace(found, labels={key: path for key, path in found.labels.items() if key in found.images})

    def describe_absence(self) -> str:
        """Say so when the other release is there."""
        other = next(year for year in _LAYOUTS if year != self.year)
        if recognise(self.root, _LAYOUTS[other], self.inner_roots, self.searched_splits):
            return f"the release of {other} is there: set year={other} to read it, not year={self.year}"
        return super().describe_absence()

    def label_sources(self) -> list[Path]:
        """The JSON files, which are the labels of many images."""
        return sorted(set(self.found.labels.values())) if isinstance(self.layout, Instances) else []

    def read_label(self, sample: Sample) -> np.ndarray:
        """Draw a sample's instances, or decode its PNG, to train ids, (H, W) uint8."""
        if not isinstance(self.layout, Instances):
            return super().read_label(sample)
        frames = read_frames(sample.label)
        if sample.image.stem not in frames:
            raise DataError(f"{sample.label}: lists no image {sample.image.name}. Image and annotations should be of one release.")
        return np.asarray(cv2.LUT(draw_frame(sample.label, frames[sample.image.stem]), self.table))
