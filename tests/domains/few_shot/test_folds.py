"""The published folds against lists that were written down by hand, and folds of one's own."""

import pytest

from pin_memory.domains.few_shot.folds import FOLDS, fold_lists, sides_of_fold
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CLASSES

PASCAL = """aeroplane, bicycle, bird, boat, bottle - bus, car, cat, chair, cow - diningtable, dog, horse, motorbike, person
- pottedplant, sheep, sofa, train, tvmonitor"""
# Every fourth class: METASEGNET.md, section e.
COCO = """person, airplane, boat, parking meter, dog, elephant, backpack, suitcase, sports ball, skateboard, wine glass, spoon, sandwich,
hot dog, chair, dining table, mouse, microwave, refrigerator, scissors - bicycle, bus, traffic light, bench, horse, bear, umbrella,
frisbee, kite, surfboard, cup, bowl, orange, pizza, couch, toilet, remote, oven, book, teddy bear - car, train, fire hydrant, bird, sheep,
zebra, handbag, skis, baseball bat, tennis racket, fork, banana, broccoli, donut, potted plant, tv, keyboard, toaster, clock, hair drier -
motorcycle, truck, stop sign, cat, cow, giraffe, tie, snowboard, baseball glove, bottle, knife, apple, carrot, cake, bed, laptop,
cell phone, sink, vase, toothbrush"""


def lists(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.strip() for name in fold.split(",")) for fold in text.replace("\n", " ").split(" - "))


def test_published_folds() -> None:
    assert FOLDS["pascal_5i"] == lists(PASCAL)
    assert FOLDS["coco_20i"] == lists(COCO)
    assert [fold[0] for fold in FOLDS["coco_20i_contiguous"]] == ["person", "elephant", "wine glass", "dining table"]
    for name, size in (("pascal_5i", 20), ("coco_20i", 80), ("coco_20i_contiguous", 80)):
        assert len({own for fold in FOLDS[name] for own in fold}) == size


def test_sides_of_a_fold_of_ones_own() -> None:
    train, test = sides_of_fold([["bus", "rider"], ["truck", "motorcycle"]], 0, CLASSES)
    assert test == ("rider", "bus")
    assert train == tuple(name for name in CLASSES if name not in ("rider", "bus"))


def test_the_background_is_on_neither_side() -> None:
    assert sides_of_fold([["b"]], 0, ["background", "a", "b"]) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        ("pascal", 0, "expected one of pascal_5i, coco_20i"),
        ("pascal_5i", 0, "'aeroplane' is no class of the data"),
        ([["ridre"]], 0, "'ridre' is no class.*rider"),
        ([["rider"], ["bus", "rider"]], 0, "rider is in two folds"),
        ([["rider", "rider"]], 0, "comes twice"),
        ([["rider"], []], 0, "at least one class"),
        ([["rider"], ["bus"]], 2, "expected a number of 0 to 1"),
        ([["rider"]], -1, "expected a number of 0 to 0"),
        ([list(CLASSES)], 0, "none is left to train on"),
    ],
)
def test_mistakes(folds: list[list[str]], fold: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sides_of_fold(folds, fold, CLASSES)


def test_a_single_class_needs_no_list() -> None:
    assert fold_lists(["rider", ["bus"]]) == (("rider",), ("bus",))
