"""ACDC (Sakaridis et al., ICCV 2021): 1,600 training and 406 validation frames in fog, at night, in rain and in snow."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pin_memory.domains.readers.base import Domain, Transform
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Found, Layout
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import IGNORE, TRAIN_ID_TABLE, TRAIN_ID_VALUES

CONDITIONS = ("fog", "night", "rain", "snow")
"""The conditions of ACDC, which serve as domains."""

_VAL_COUNTS = {"fog": 100, "night": 106, "rain": 100, "snow": 100}  # each condition has 400 frames to train on
_CONDITION = "{{condition}}"  # doubled, since the folders of a layout are filled in with `format`


class _ConditionFolders(Layout):
    """A tree with a folder for each condition and the splits inside; its files are those of all four."""

    def of(self, condition: str) -> Layout:
        """The tree of one condition."""
        folders = {"images": self.images.replace(_CONDITION, condition), "labels": self.labels.replace(_CONDITION, condition)}
        return Layout(**(vars(self) | folders))

    def parts(self, root: Path, splits: tuple[str, ...]) -> dict[str, Found]:
        """The files of each condition that is there."""
        return {condition: part for condition in CONDITIONS if (part := self.of(condition).find(root, splits))}

    def find(self, root: Path, splits: tuple[str, ...]) -> Found | None:
        """Look for the files; None when a condition is missing."""
        parts = self.parts(root, splits)
        if len(parts) < len(CONDITIONS):
            return None
        images = {f"{condition}/{key}": path for condition, part in parts.items() for key, path in part.images.items()}
        labels = {f"{condition}/{key}": path for condition, part in parts.items() for key, path in part.labels.items()}
        return Found(self, root, images, labels)


_ENCODINGS = {"labelTrainIds": TRAIN_ID_TABLE, "labelIds": Cityscapes.table}
_IMAGES = {"": "rgb_anon", ", image zip's folder": "rgb_anon_trainvaltest/rgb_anon"}
_LABELS = {"": "gt", ", label zip's folder": "gt_trainval/gt"}
_TREES: dict[str, tuple[type[Layout], str]] = {
    "by condition": (_ConditionFolders, f"/{_CONDITION}/{{split}}"),
    "conditions in one folder": (Layout, "/{split}"),
}


class ACDC(Domain):
    """ACDC, all of it or one of its four conditions. Tested on the validation split, since the test labels are not published.

    The reference frames of clear weather (`*_ref`) have no labels and are left out.
    """

    title: ClassVar[str] = "ACDC"
    tree = """
rgb_anon/{fog,night,rain,snow}/{train,val}/<seq>/<seq>_frame_<number>_rgb_anon.png
gt/{fog,night,rain,snow}/{train,val}/<seq>/<seq>_frame_<number>_gt_labelTrainIds.png    (or _gt_labelIds.png)
"""
    download: ClassVar[str] = "rgb_anon_trainvaltest.zip and gt_trainval.zip from acdc.vision.ee.ethz.ch (after registration)"
    table = _ENCODINGS["labelTrainIds"]
    layouts: tuple[Layout, ...] = tuple(
        kind(
            f"{tree}{image_part}{label_part}, {encoding}",
            images + inner,
            labels + inner,
            r"(.+)_rgb_anon\.png",
            rf"(.+)_gt_{encoding}\.png",
            TRAIN_AND_VAL,
            encoding=encoding,
            table=table,
        )
        for tree, (kind, inner) in _TREES.items()
        for encoding, table in _ENCODINGS.items()
        for image_part, images in _IMAGES.items()
        for label_part, labels in _LABELS.items()
    )
    official_counts: Mapping[str, int] = {"train": 400 * len(CONDITIONS), "val": sum(_VAL_COUNTS.values())}

    def __init__(
        self, root: str | Path, split: str, transform: Transform | None = None, condition: str | None = None, **options: Any
    ) -> None:
        """List the samples of a split.

        Args:
            root: As in `Domain`.
            split: As in `Domain`.
            transform: As in `Domain`.
            condition: "fog", "night", "rain" or "snow"; None for all four.
            options: As in `Domain`.

        Raises:
            DataError: As in `Domain`.
            ConfigurationError: There is no such condition.
        """
        if condition is not None and condition not in CONDITIONS:
            raise ConfigurationError(f"ACDC has no condition {condition!r}; choose one of {', '.join(CONDITIONS)}, or null for all.")
        self.condition = condition
        if condition is not None:
            self.layouts = tuple(layout.of(condition) for layout in self.layouts if isinstance(layout, _ConditionFolders))
            self.official_counts = {"train": 400, "val": _VAL_COUNTS[condition]}
        super().__init__(root, split, transform, **options)

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == "labelTrainIds" else {*range(34), IGNORE}

    def find(self) -> Found:
        """Recognise the layout and list its files.

        Raises:
            DataError: As in `Domain`, and when the tree does not tell which condition a frame is of.
        """
        try:
            return super().find()
        except DataError as error:
            merged = [layout for layout in type(self).layouts if not isinstance(layout, _ConditionFolders)]
            if self.condition is not None and any(layout.find(self.root, (self.folder_split,)) for layout in merged):
                raise DataError(
                    f"ACDC: the frames below {self.root} lie in folders of the split alone, which do not tell the condition, but "
                    f"condition={self.condition} is asked for. Unpack the archives as they are, or take all with condition=null."
                ) from error
            raise

    def _absence(self) -> str:
        """Say which conditions are there, where some but not all are."""
        for layout in self.layouts:
            if isinstance(layout, _ConditionFolders) and (parts := layout.parts(self.root, (self.folder_split,))):
                absent = [condition for condition in CONDITIONS if condition not in parts]
                return f"the split {self.folder_split!r} is there for {', '.join(parts)}, but not for {', '.join(absent)}"
        return super()._absence()

    def sample_name(self, key: str) -> str:
        """The name of the frame, which says the sequence; unique over the conditions."""
        return key.rsplit("/", 1)[-1]
