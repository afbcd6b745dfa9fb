"""Folds of classes: which classes are tested on, and never trained on, in few-shot segmentation."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from pin_memory.domains.readers.coco import COCO_CLASSES
from pin_memory.domains.readers.voc import VOC_CLASSES
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import BACKGROUND
from pin_memory.utils.names import near_match

Folds = tuple[tuple[str, ...], ...]
"""Names of the test classes of each fold."""

FOLDS: Mapping[str, Folds] = {
    "pascal_5i": tuple(VOC_CLASSES[5 * fold : 5 * fold + 5] for fold in range(4)),
    "coco_20i": tuple(COCO_CLASSES[fold::4] for fold in range(4)),
    "coco_20i_contiguous": tuple(COCO_CLASSES[20 * fold : 20 * fold + 20] for fold in range(4)),
}
"""The published folds. Of COCO-20i two definitions are in use: every fourth class (HSNet, iFSL), and twenty in a row (PANet)."""


def fold_lists(folds: str | Sequence[Sequence[str]]) -> Folds:
    """The test classes of each fold.

    Args:
        folds: A name of `FOLDS`, or the names of the classes of each fold.

    Raises:
        ConfigurationError: There is no such name, a fold is empty, or a class is in two folds.
    """
    if isinstance(folds, str):
        if folds not in FOLDS:
            raise ConfigurationError(f"folds={folds}: expected one of {', '.join(FOLDS)}, or lists of classes as [[rider, bus], [truck]].")
        return FOLDS[folds]
    lists = tuple((fold,) if isinstance(fold, str) else tuple(fold) for fold in folds)
    if not lists or not all(lists):
        raise ConfigurationError(f"folds={list(folds)}: expected at least one class in each fold, as [[rider, bus], [truck]].")
    for own in lists:
        if len(set(own)) < len(own):
            raise ConfigurationError(f"folds: a class comes twice in the fold {', '.join(own)}.")
    for one, other in combinations(lists, 2):
        if common := [name for name in one if name in other]:
            raise ConfigurationError(f"folds: {', '.join(common)} is in two folds; a class is tested in one fold alone.")
    return lists


def sides_of_fold(folds: str | Sequence[Sequence[str]], fold: int, classes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The training and the test classes of a fold, each in the order of the class list.

    Args:
        folds: As in `fold_lists`.
        fold: The fold that is tested, counted from 0.
        classes: The classes of the data; the training classes are all of them but the fold's and the background.

    Raises:
        ConfigurationError: As `fold_lists`; also when a class is not there, when there is no such fold, or nothing is left to train on.
    """
    lists = fold_lists(folds)
    for name in (name for own in lists for name in own):
        if name not in classes or name == BACKGROUND:
            known = [known for known in classes if known != BACKGROUND]
            raise ConfigurationError(f"folds: {name!r} is no class of the data, which are {', '.join(known)}.{near_match(name, known)}")
    if not 0 <= fold < len(lists):
        raise ConfigurationError(f"fold={fold}: expected a number of 0 to {len(lists) - 1}, as there are {len(lists)} folds.")
    test = tuple(name for name in classes if name in lists[fold])
    train = tuple(name for name in classes if name not in lists[fold] and name != BACKGROUND)
    if not train:
        raise ConfigurationError(f"fold={fold} tests all classes, so that none is left to train on.")
    return train, test
