"""The most frequent classes, overall and by position."""

import numpy as np
import pytest
import torch

from pin_memory.metrics import LabelPrior
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE


def halves(height: int, width: int) -> np.ndarray:
    """Sky above, road below, with an ignored frame."""
    label = np.zeros((height, width), np.uint8)
    label[: height // 2] = 10
    label[:, 0] = IGNORE
    return label


@pytest.mark.parametrize("size", [(128, 256), (97, 211), (64, 64), (20, 300), (10, 12)])
def test_layout_follows_the_labels_at_any_size(size: tuple[int, int]) -> None:
    prior = LabelPrior()
    prior.update(halves(*size))
    layout = prior.layout(50, 70)
    assert layout.shape == (50, 70)
    assert layout.dtype == np.uint8
    assert (layout[:22, 10:] == 10).all()
    assert (layout[28:, 10:] == 0).all()


def test_the_majority_over_several_labels_wins() -> None:
    prior = LabelPrior()
    for value in (3, 3, 7):
        prior.update(torch.full((80, 90), value))
    prior.update(torch.full((80, 90), IGNORE))
    assert prior.constant() == 3
    assert (prior.layout(5, 5) == 3).all()
    assert prior.counts.sum() == 3 * 80 * 90


def test_counts_add_up_to_the_labelled_pixels_and_leave_the_label_alone() -> None:
    label = halves(100, 150)
    copy = label.copy()
    prior = LabelPrior()
    prior.update(label)
    assert prior.counts.sum((1, 2))[10] == 50 * 149
    assert (label == copy).all()


def test_positions_without_counts_take_the_class_most_frequent_overall() -> None:
    label = np.full((64, 64), IGNORE, np.uint8)
    label[:, 32:] = 5
    prior = LabelPrior()
    prior.update(label)
    assert (prior.layout(64, 64) == 5).all()


def test_only_ignored_pixels_is_an_error() -> None:
    prior = LabelPrior()
    prior.update(np.full((64, 64), IGNORE, np.uint8))
    with pytest.raises(DataError, match="No labelled pixel"):
        prior.constant()
