"""Mapillary Vistas (Neuhold et al., ICCV 2017): 18,000 training and 2,000 validation images of many sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, TRAIN_IDS, Layout, recognise
from pin_memory.domains.readers.mapillary_classes import COUNTS, TABLES, check_config
from pin_memory.utils.errors import ConfigurationError

_FOLDERS = {"train": "training", "val": "validation"}
_CONVERTED: Mapping[str, Any] = {"encoding": "train ids", **TRAIN_IDS}
_CONFIGS = {"v1.2": ("config_v1.2.json", "config.json"), "v2.0": ("config_v2.0.json",)}


def _published(version: str, folders: Mapping[str, str]) -> tuple[Layout, ...]:
    """The trees with labels in `folders` (by the tree's name) inside training and validation, as published or converted to train ids."""
    endings: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "": (r"(.+)(?<!_labelTrainIds)\.png", {"raw_ids": range(COUNTS[version])}),
        ", labelTrainIds": (r"(.+)_labelTrainIds\.png", _CONVERTED),
    }
    return tuple(
        Layout(tree + converted, "{split}/images", f"{{split}}/{folder}", r"(.+)\.jpg", label, _FOLDERS, **fields)
        for converted, (label, fields) in endings.items()
        for tree, folder in folders.items()
    )


LAYOUTS = {
    "v1.2": (
        *_published("v1.2", {"v1.2 labels of the v2.0 archive": "v1.2/labels", "v1.2 archive": "labels"}),
        # Rein's label folders are named otherwise than those of the images: one layout for each split.
        *(
            Layout(
                "cityscapes_trainIdLabel",
                "{split}/images",
                f"cityscapes_trainIdLabel/{split}/label",
                r"(.+)\.jpg",
                r"(.+)\.png",
                {split: folder},
                **_CONVERTED,
            )
            for split, folder in _FOLDERS.items()
        ),
        Layout(
            "half-size copies",
            "half/{split}_img",
            "half/{split}_label",
            r"(.+)\.(?:jpg|png)",
            r"(.+?)(?:_labelTrainIds)?\.png",
            TRAIN_AND_VAL,
            scale=0.5,
            **_CONVERTED,
        ),
    ),
    "v2.0": _published("v2.0", {"v2.0 archive": "v2.0/labels"}),
}
"""The recognised trees by the version of the labels."""


class Mapillary(Domain):
    """Mapillary Vistas: JPEG images and palette PNGs whose index is the class. Evaluated on the validation split.

    The archive of version 2.0 holds the labels of version 1.2, too, which are read by default since published numbers are of these.

    Args:
        labels: Version of the labels, "v1.2" or "v2.0".
        class_map: How the classes of version 1.2 become the 19: "robustnet" or "rein"; numbers of the two are not comparable. The other
            arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when a config.json lists other classes.
        ConfigurationError: As `Domain`; also when there is no such version or map.
    """

    title: ClassVar[str] = "Mapillary Vistas"
    tree = """
training/{images/<key>.jpg,labels/<key>.png}             (version 1.2)
validation/{images/<key>.jpg,labels/<key>.png}
(or of version 2.0: training/v1.2/labels, training/v2.0/labels, and so on)
"""
    download: ClassVar[str] = "the archive of version 1.2 or 2.0 from mapillary.com/dataset/vistas (after registration)"
    table = TABLES["v1.2"]["robustnet"]
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
        if labels not in TABLES:
            raise ConfigurationError(f"Mapillary: labels={labels!r} is none of {', '.join(TABLES)} (quote it in YAML).")
        if class_map not in TABLES["v1.2"]:
            raise ConfigurationError(f"Mapillary: class_map={class_map!r} is none of {', '.join(TABLES['v1.2'])}.")
        if class_map not in TABLES[labels]:
            raise ConfigurationError(
                f"Mapillary: class_map={class_map} is a map of version 1.2; its rules give wrong classes for the names of version 2.0, "
                "e.g. no traffic lights. Take labels=v1.2, which the archive of version 2.0 holds, too, or class_map=robustnet."
            )
        self.labels = labels
        self.layouts = LAYOUTS[labels]
        self.table = TABLES[labels][class_map]
        super().__init__(root, split, transform, **options)
        if self.layout.encoding == "train ids":
            self.note("the labels are train ids that another tool made: the class map is that tool's, whatever class_map says")
        elif configs := [path for name in _CONFIGS[labels] if (path := self.found.root / name).is_file()]:
            check_config(configs[0], labels)

    def describe_absence(self) -> str:
        """Say so when the labels of the other version are there."""
        other = next(version for version in LAYOUTS if version != self.labels)
        if recognise(self.root, LAYOUTS[other], self.inner_roots, self.searched_splits):
            return f"there are labels of {other}, but labels={self.labels} is asked for; set labels: {other} to read them"
        return super().describe_absence()
