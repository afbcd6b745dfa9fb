"""Mapillary Vistas (Neuhold et al., ICCV 2017): 18,000 training and 2,000 validation images of many sizes."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pin_memory.domains.readers.base import Domain, Transform
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Layout, recognise
from pin_memory.domains.readers.mapillary_classes import CLASS_MAPS, COUNTS, check_config, table_of
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import TRAIN_ID_TABLE, TRAIN_ID_VALUES

_FOLDERS = {"train": "training", "val": "validation"}
_IDS, _TRAIN_IDS = "ids", "train ids"
_ENDINGS: dict[str, tuple[str, str, np.ndarray | None]] = {
    "": (r"(.+)(?<!_labelTrainIds)\.png", _IDS, None),
    ", labelTrainIds": (r"(.+)_labelTrainIds\.png", _TRAIN_IDS, TRAIN_ID_TABLE),
}
_CONFIGS = {"v1.2": ("config_v1.2.json", "config.json"), "v2.0": ("config_v2.0.json",)}


def _published(folders: Mapping[str, str]) -> tuple[Layout, ...]:
    """The trees with labels in `folders` (by the tree's name) inside training and validation, as published or converted to train ids."""
    return tuple(
        Layout(tree + converted, "{split}/images", f"{{split}}/{folder}", r"(.+)\.jpg", label, _FOLDERS, encoding, table)
        for converted, (label, encoding, table) in _ENDINGS.items()
        for tree, folder in folders.items()
    )


# Rein's label folders are named otherwise than those of the images: one layout for each split.
_REIN = tuple(
    Layout(
        "cityscapes_trainIdLabel",
        "{split}/images",
        f"cityscapes_trainIdLabel/{split}/label",
        r"(.+)\.jpg",
        r"(.+)\.png",
        {split: folder},
        _TRAIN_IDS,
        TRAIN_ID_TABLE,
    )
    for split, folder in _FOLDERS.items()
)
_HALF = Layout(
    "half-size copies",
    "half/{split}_img",
    "half/{split}_label",
    r"(.+)\.(?:jpg|png)",
    r"(.+?)(?:_labelTrainIds)?\.png",
    TRAIN_AND_VAL,
    _TRAIN_IDS,
    TRAIN_ID_TABLE,
    scale=0.5,
)

LAYOUTS = {
    "v1.2": (*_published({"v1.2 labels of the v2.0 archive": "v1.2/labels", "v1.2 archive": "labels"}), *_REIN, _HALF),
    "v2.0": _published({"v2.0 archive": "v2.0/labels"}),
}
"""The recognised trees by the version of the labels."""


class Mapillary(Domain):
    """Mapillary Vistas: JPEG images and palette PNGs whose index is the class. Tested on the validation split.

    The archive of version 2.0 holds the labels of version 1.2, too, which are read by default since published numbers are of these.
    """

    title: ClassVar[str] = "Mapillary Vistas"
    tree = """
training/{images/<key>.jpg,labels/<key>.png}             (version 1.2)
validation/{images/<key>.jpg,labels/<key>.png}
(or of version 2.0: training/v1.2/labels, training/v2.0/labels, and so on)
"""
    download: ClassVar[str] = "the archive of version 1.2 or 2.0 from mapillary.com/dataset/vistas (after registration)"
    table = CLASS_MAPS["robustnet"]
    layouts: tuple[Layout, ...] = LAYOUTS["v1.2"]
    official_counts: Mapping[str, int] = {"train": 18000, "val": 2000}

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        labels: str = "v1.2",
        class_map: str = "robustnet",
        **options: Any,
    ) -> None:
        """List the samples of a split.

        Args:
            root: As in `Domain`.
            split: As in `Domain`.
            transform: As in `Domain`.
            labels: Version of the labels, "v1.2" or "v2.0".
            class_map: How the classes of version 1.2 become the 19: "robustnet" or "rein"; numbers of the two are not comparable.
            options: As in `Domain`.

        Raises:
            DataError: As in `Domain`, or a config.json lists other classes.
            ConfigurationError: As in `Domain`, or there is no such version or map.
        """
        if labels not in LAYOUTS:
            raise ConfigurationError(f"Mapillary: labels={labels!r} is none of {', '.join(LAYOUTS)} (quote it in YAML).")
        if class_map not in CLASS_MAPS:
            raise ConfigurationError(f"Mapillary: class_map={class_map!r} is none of {', '.join(CLASS_MAPS)}.")
        if labels == "v2.0" and class_map != "robustnet":
            raise ConfigurationError(
                f"Mapillary: class_map={class_map} is a map of version 1.2; its rules give wrong classes for the names of version 2.0, "
                "e.g. no traffic lights. Take labels=v1.2, which the archive of version 2.0 holds, too, or class_map=robustnet."
            )
        self.labels = labels
        self.layouts = LAYOUTS[labels]
        self.table = table_of(labels, class_map)
        super().__init__(root, split, transform, **options)
        if self.layout.encoding == _TRAIN_IDS:
            self.note("the labels are train ids that another tool made: the class map is that tool's, whatever class_map says")
        elif configs := [path for name in _CONFIGS[labels] if (path := self.found.root / name).is_file()]:
            check_config(configs[0], labels)

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == _TRAIN_IDS else range(COUNTS[self.labels])

    def _absence(self) -> str:
        """Say so when the labels of the other version are there."""
        other = next(version for version in LAYOUTS if version != self.labels)
        if recognise(self.root, LAYOUTS[other], self.inner_roots, (self.folder_split,)):
            return f"there are labels of {other}, but labels={self.labels} is asked for; set labels: {other} to read them"
        return super()._absence()
