"""PASCAL VOC 2012 (Everingham et al., IJCV 2015), with the further labels of SBD (Hariharan et al., ICCV 2011)."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.label_maps import read_indices
from pin_memory.domains.readers.layouts import Found, Layout, Sample
from pin_memory.domains.readers.lists import read_lines
from pin_memory.domains.readers.real_files import find_files
from pin_memory.domains.readers.splits import listed
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import BACKGROUND, IGNORE, LabelSpace, bit_palette, label_table

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of VOC, whose train ids are 1 to 20."""

_FRAME = r"(\d{4}_\d{6})"
_PNG, _JPEG = rf"{_FRAME}\.png", rf"{_FRAME}\.jpg"
_RAW_IDS = frozenset({*range(len(VOC_CLASSES) + 1), IGNORE})
_SBD = Path("benchmark_RELEASE/dataset/cls")
# The recognised trees by what is trained on.
_LAYOUTS = {
    "voc": (Layout("as published", "JPEGImages", "SegmentationClass", _JPEG, _PNG, raw_ids=_RAW_IDS),),
    "aug": (
        Layout("SegmentationClassAug", "JPEGImages", "SegmentationClassAug", _JPEG, _PNG, raw_ids=_RAW_IDS),
        Layout("as published, with SBD", "JPEGImages", "SegmentationClass", _JPEG, _PNG, encoding="ids, .mat of SBD", raw_ids=_RAW_IDS),
    ),
}
_COUNTS = {"voc": {"train": 1464, "val": 1449}, "aug": {"train": 10582, "val": 1449}}


class VOC(Domain):
    """PASCAL VOC 2012: palette PNGs of class ids, 0 for the background, 255 for the border of an object, which is ignored.

    The lists of `ImageSets/Segmentation` are the splits; only frames that they name or that have a label are looked at. "aug" trains on all
    labels of VOC and SBD but those of VOC's validation list, which is `trainaug` of the literature: where both have a label, on VOC's.

    Args:
        train_on: "aug", which needs the folder SegmentationClassAug or SBD's archive, or "voc" for VOC's own training list. The other
            arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when a list or SBD is not there.
        ConfigurationError: As `Domain`; also when `train_on` is neither.
    """

    title = "PASCAL VOC 2012"
    tree = """
VOCdevkit/VOC2012/JPEGImages/<name>.jpg
VOCdevkit/VOC2012/SegmentationClass/<name>.png
VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
VOCdevkit/VOC2012/SegmentationClassAug/<name>.png    (for train_on=aug; or benchmark_RELEASE/dataset/cls/<name>.mat)
"""
    download = (
        "VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC/voc2012, and for train_on=aug benchmark.tgz of the Semantic"
        " Boundaries Dataset (Berkeley), or its labels as SegmentationClassAug"
    )
    table = label_table(list(range(len(VOC_CLASSES) + 1)))
    layouts = _LAYOUTS["aug"]
    inner_roots = ("", "VOC2012", "VOCdevkit/VOC2012", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012")
    label_space = LabelSpace((BACKGROUND, *VOC_CLASSES), bit_palette(len(VOC_CLASSES) + 1))
    classes = (BACKGROUND, *VOC_CLASSES)

    def __init__(
        self, root: str | Path, split: str, transform: Transform | None = None, *, train_on: Literal["aug", "voc"] = "aug", **options: Any
    ) -> None:
        if train_on not in _LAYOUTS:
            raise ConfigurationError(f"VOC: train_on={train_on!r} is none of 'aug' and 'voc'.")
        self.train_on = train_on
        self.layouts, self.official_counts = _LAYOUTS[train_on], _COUNTS[train_on]
        super().__init__(root, split, transform, **options)
        self.known_single_colour = frozenset(sample.name for sample in self.samples)  # a thing may fill a photograph

    def find(self) -> Found:
        """List the files; most photographs of the archive have no label and are not meant to."""
        found = super().find()
        labels = found.labels
        if found.layout is _LAYOUTS["aug"][1]:
            labels = self._sbd(found.root) | labels
        named = set(labels)
        for split, path in self._lists(found.root).items() if self.split_file is None else ():
            if not path.is_file():
                raise self.missing(f"there is no list {path}")
            named |= set(read_lines(path, split))
        return replace(found, images={key: path for key, path in found.images.items() if key in named}, labels=labels)

    def _sbd(self, inner: Path) -> dict[str, Path]:
        """The labels of SBD's archive by the names of their frames."""
        folder = next((root / _SBD for root in (self.root, inner, self.root / "SBD", self.root / "sbd") if (root / _SBD).is_dir()), None)
        if folder is None:
            raise self.missing(
                f"train_on=aug needs SBD's labels, but there is no folder SegmentationClassAug and no {self.root / _SBD}; train_on=voc"
                " trains on VOC's own 1,464 images"
            )
        return find_files(folder, rf"{_FRAME}\.mat")

    def _lists(self, inner: Path) -> dict[str, Path]:
        return {split: inner / "ImageSets" / "Segmentation" / f"{split}.txt" for split in ("train", "val")}

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The frames of the split's list; for training on "aug" also all others but those of the validation list."""
        if self.split_file is not None:
            return super().select(pairs)
        lists = self._lists(self.found.root)
        own = listed(pairs, lists, self.folder_split, self.title)
        if self.folder_split == "val" or self.train_on == "voc":
            return own
        validated = set(read_lines(lists["val"], "val"))
        return [sample for sample in pairs if sample.name not in validated]

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read ids, (H, W) uint8, from a PNG or from one of SBD's .mat files."""
        return read_sbd(path) if path.suffix == ".mat" else read_indices(path)


def read_sbd(path: Path) -> np.ndarray:
    """Read the class ids of one of SBD's .mat files, (H, W) uint8."""
    from scipy.io import loadmat  # takes a while to import, and only these files need it

    try:
        ids = np.asarray(loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise DataError(f"{path}: expected a label of SBD with GTcls.Segmentation; it cannot be read ({error}).") from error
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise DataError(f"{path}: expected class ids (H, W) of 8 bits in GTcls.Segmentation, found {ids.dtype} {ids.shape}.")
    return ids
