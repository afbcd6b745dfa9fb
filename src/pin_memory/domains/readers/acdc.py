"""ACDC (Sakaridis et al., ICCV 2021): 1,600 training and 406 validation frames in fog, at night, in rain and in snow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import ENCODINGS
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import TRAIN_AND_VAL, Found, Layout, recognise
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import TRAIN_ID_TABLE

CONDITIONS = ("fog", "night", "rain", "snow")
"""The conditions of ACDC, which serve as domains."""

_VAL_COUNTS = {"fog": 100, "night": 106, "rain": 100, "snow": 100}  # each condition has 400 frames to train on


@dataclass(frozen=True)
class ConditionFolders(Layout):
    """A tree with a folder for each condition, "{condition}" in `images` and `labels`, and the splits inside."""

    conditions: tuple[str, ...] = CONDITIONS  # all of them have to be there

    def with_condition(self, condition: str) -> "ConditionFolders":
        """The tree of one condition."""
        images, labels = (folder.replace("{condition}", condition) for folder in (self.images, self.labels))
        return replace(self, images=images, labels=labels, conditions=(condition,))

    def parts(self, root: Path, splits: Sequence[str]) -> dict[str, Found]:
        """The files of each condition that is there."""
        found = {condition: Layout.find(self.with_condition(condition), root, splits) for condition in self.conditions}
        return {condition: part for condition, part in found.items() if part}

    def find(self, root: Path, splits: Sequence[str]) -> Found | None:
        """List the files of all conditions; None when one is missing."""
        parts = self.parts(root, splits)
        images = {f"{condition}/{key}": path for condition, part in parts.items() for key, path in part.images.items()}
        labels = {f"{condition}/{key}": path for condition, part in parts.items() for key, path in part.labels.items()}
        return Found(self, root, images, labels) if len(parts) == len(self.conditions) else None


_TREES: dict[str, tuple[type[Layout], str]] = {
    "by condition": (ConditionFolders, "/{condition}/{split}"),
    "conditions in one folder": (Layout, "/{split}"),
}
_IMAGE = r"(.+)_rgb_anon\.png"
_IMAGES = {"": "rgb_anon", ", image zip's folder": "rgb_anon_trainvaltest/rgb_anon"}
_LABELS = {"": "gt", ", label zip's folder": "gt_trainval/gt"}


class ACDC(Domain):
    """ACDC, all of it or one of its four conditions. Evaluated on the validation split, since the test labels are not published.

    The reference frames of clear weather (`*_ref`) have no labels and are left out.

    Args:
        condition: "fog", "night", "rain" or "snow"; None for all four. The other arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`; also when the folders do not tell which condition a frame is of.
        ConfigurationError: As `Domain`; also when there is no such condition.
    """

    title = "ACDC"
    tree = """
rgb_anon/{fog,night,rain,snow}/{train,val}/<seq>/<seq>_frame_<number>_rgb_anon.png
gt/{fog,night,rain,snow}/{train,val}/<seq>/<seq>_frame_<number>_gt_labelTrainIds.png    (or _gt_labelIds.png)
"""
    download = "rgb_anon_trainvaltest.zip and gt_trainval.zip from acdc.vision.ee.ethz.ch (after registration)"
    table = TRAIN_ID_TABLE
    layouts = tuple(
        tree(f"{name}{one}{two}, {kind}", images + inner, labels + inner, _IMAGE, rf"(.+)_gt_{kind}\.png", TRAIN_AND_VAL, kind, **fields)
        for name, (tree, inner) in _TREES.items()
        for kind, fields in ENCODINGS.items()
        for one, images in _IMAGES.items()
        for two, labels in _LABELS.items()
    )
    official_counts = {"train": 400 * len(CONDITIONS), "val": sum(_VAL_COUNTS.values())}
    unique_file_names = True  # they say the sequence

    def __init__(
        self, root: str | Path, split: str, transform: Transform | None = None, condition: str | None = None, **options: Any
    ) -> None:
        if condition is not None and condition not in CONDITIONS:
            raise ConfigurationError(f"ACDC has no condition {condition!r}; choose one of {', '.join(CONDITIONS)}, or null for all.")
        self.condition = condition
        if condition is not None:
            self.layouts = tuple(layout.with_condition(condition) for layout in self.layouts if isinstance(layout, ConditionFolders))
            self.official_counts = {"train": 400, "val": _VAL_COUNTS[condition]}
        super().__init__(root, split, transform, **options)

    def describe_absence(self) -> str:
        """Say which conditions are there, where some but not all are, or that the folders do not tell them."""
        for layout in self.layouts:
            if isinstance(layout, ConditionFolders) and (parts := layout.parts(self.root, self.searched_splits)):
                absent = [condition for condition in layout.conditions if condition not in parts]
                return f"the split {self.folder_split!r} is there for {', '.join(parts)}, but not for {', '.join(absent)}"
        merged = [layout for layout in type(self).layouts if not isinstance(layout, ConditionFolders)]
        if self.condition is not None and recognise(self.root, merged, self.inner_roots, self.searched_splits):
            return (
                f"the frames lie in folders of the split alone, which do not tell the condition, but condition={self.condition} is asked"
                " for; unpack the archives as they are, or take all with condition=null"
            )
        return super().describe_absence()
