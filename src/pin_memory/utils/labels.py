"""What train ids stand for: the 19 Cityscapes evaluation classes with their colours, other class lists, and tables of raw ids."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""Train id of pixels that take no part in training or evaluation."""

BACKGROUND = "background"
"""Name of the train id 0 of data sets that label things alone: what is no thing."""

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Class names; the position is the train id."""

PALETTE = np.array(
    [
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0),
        (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
        (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ],
    dtype=np.uint8,
)  # fmt: skip
"""Cityscapes colours, RGB, (19, 3) uint8."""


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """What the train ids of a run stand for."""

    names: tuple[str, ...]  # of the classes; the position is the train id
    palette: np.ndarray  # colours of the classes in pictures, RGB, (K, 3) uint8
    chosen: np.ndarray | None = None  # (K,) bool: which of them were asked for and not made up; None: all

    def over(self, other: "LabelSpace") -> "LabelSpace":
        """These classes in the colours that were asked for here, else in those of another space of the same classes."""
        if self.chosen is None:
            return self
        theirs = np.full(len(self), True) if other.chosen is None else other.chosen
        return LabelSpace(self.names, np.where(self.chosen[:, None], self.palette, other.palette), self.chosen | theirs)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ClassNames:
    """What the raw ids of labels are called.

    Attributes:
        data_set: The name that maps to other label spaces have for data sets with these classes, e.g. "cityscapes" for all with its ids.
        by_id: Name of each raw id that stands for something; others are ignored.
    """

    data_set: str
    by_id: Mapping[int, str]


CITYSCAPES = LabelSpace(CLASSES, PALETTE)
"""The 19 Cityscapes classes, which all data sets but one's own have."""


def bit_palette(count: int) -> np.ndarray:
    """VOC's colours of the first `count` ids, (count, 3) uint8: the bits of an id, lowest first, are the high bits of red, green, blue."""
    ids = np.arange(count)[:, None]
    return np.sum([(ids >> 3 * place + np.arange(3) & 1) << 7 - place for place in range(8)], axis=0).astype(np.uint8)


def label_table(train_ids: dict[int, int] | list[int]) -> np.ndarray:
    """Build the table (256,) uint8 that turns raw label ids into train ids; every raw id that is not listed maps to `IGNORE`."""
    pairs = train_ids.items() if isinstance(train_ids, dict) else enumerate(train_ids)
    table = np.full(256, IGNORE, np.uint8)
    for raw, train in pairs:
        table[raw] = train
    return table


TRAIN_ID_TABLE = label_table(list(range(len(CLASSES))))
"""The identity on train ids, (256,) uint8; whatever is none becomes `IGNORE`."""

TRAIN_ID_VALUES = frozenset({*range(len(CLASSES)), IGNORE})
"""What a label of train ids may hold."""
