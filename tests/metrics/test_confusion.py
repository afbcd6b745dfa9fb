"""The confusion matrix and its IoU against plain loops over the pixels."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pin_memory.metrics import DomainConfusion, class_iou, mean_iou
from pin_memory.utils.labels import CLASSES, IGNORE


def looped_iou(predictions: torch.Tensor, labels: torch.Tensor, num_classes: int) -> list[float]:
    """IoU from its definition, pixel by pixel."""
    hits, truth, predicted = ([0] * num_classes for _ in range(3))
    for p, t in zip(predictions.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if t == IGNORE:
            continue
        truth[t] += 1
        predicted[p] += 1
        hits[t] += p == t
    return [h / (t + p - h) if t else math.nan for h, t, p in zip(hits, truth, predicted, strict=True)]


def test_iou_accumulates_over_the_data_set_like_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 19, (3, 13, 17), generator=generator)
    labels[labels == 16] = IGNORE  # "train" has no ground truth but is predicted
    predictions = torch.where(torch.rand(labels.shape, generator=generator) < 0.5, labels.clamp(max=18), torch.randint(0, 19, labels.shape))
    confusion = DomainConfusion()
    for prediction, label in zip(predictions, labels, strict=True):
        confusion.update(prediction[None], label[None])
    iou = class_iou(confusion.compute())
    torch.testing.assert_close(iou, torch.tensor(looped_iou(predictions, labels, 19), dtype=torch.float64), equal_nan=True)
    assert math.isnan(iou[CLASSES.index("train")])
    assert mean_iou(iou) == pytest.approx(sum(v for v in iou.tolist() if not math.isnan(v)) / 18)


def test_rows_are_the_ground_truth_and_counts_are_exact_integers() -> None:
    confusion = DomainConfusion(num_classes=3)
    confusion.update(torch.tensor([[[1, 1, 2, 0]]], dtype=torch.uint8), torch.tensor([[[0, 1, 1, IGNORE]]]))
    counts = confusion.compute()
    assert counts.dtype == torch.int64
    assert counts.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("classes", [19, 66, 254])
@pytest.mark.parametrize("size", [(1, 12, 400), (2, 30, 600), (1, 7, 4400), (1, 64, 2048), (1, 1, 3)])
def test_any_number_of_classes_is_counted_like_a_plain_loop(classes: int, size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(classes)
    labels, predictions = (torch.randint(0, classes, size, generator=generator) for _ in range(2))
    labels[torch.rand(size, generator=generator) < 0.2] = IGNORE
    reference = np.zeros((classes, classes), np.int64)
    counted = labels.numpy() != IGNORE
    np.add.at(reference, (labels.numpy()[counted], predictions.numpy()[counted]), 1)
    confusion = DomainConfusion(num_classes=classes)
    confusion.update(predictions, labels)
    np.testing.assert_array_equal(confusion.compute().numpy(), reference)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.elements = max(self.elements, made.numel() if isinstance(made, torch.Tensor) else 0)
        return made


@pytest.mark.parametrize(("classes", "size"), [(19, (1, 64, 512)), (19, (1, 64, 100)), (66, (1, 64, 512)), (254, (1, 256, 512))])
def test_no_table_is_larger_than_image_and_counts(classes: int, size: tuple[int, ...]) -> None:
    label = torch.randint(0, classes, size)
    confusion = DomainConfusion(num_classes=classes)
    with Largest() as largest:
        confusion.update(label, label)
    assert largest.elements <= max(label.numel(), 1 + classes**2)


@pytest.mark.parametrize("wrong", [66, 200])
def test_a_label_that_is_no_class_of_many_is_refused(wrong: int) -> None:
    label = torch.zeros(1, 64, 2048, dtype=torch.long)
    label[0, 3, 5] = wrong
    with pytest.raises(ValueError, match="out of bounds"):
        DomainConfusion(num_classes=66).update(torch.zeros_like(label), label)


def test_a_class_without_ground_truth_does_not_change_the_mean() -> None:
    assert mean_iou(class_iou(torch.tensor([[8, 2, 0], [0, 10, 0], [0, 0, 0]]))) == pytest.approx((8 / 10 + 10 / 12) / 2)
    assert mean_iou(class_iou(torch.tensor([[8, 0, 2], [0, 10, 0], [0, 0, 0]]))) == pytest.approx((8 / 10 + 1) / 2)


def test_nothing_counted_gives_nan() -> None:
    confusion = DomainConfusion()
    confusion.update(torch.zeros(1, 4, 4, dtype=torch.long), torch.full((1, 4, 4), IGNORE))
    assert math.isnan(mean_iou(class_iou(confusion.compute())))


@pytest.mark.parametrize("wrong", [3, 200])
def test_a_label_that_is_no_class_is_never_left_out_silently(wrong: int) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        DomainConfusion(num_classes=3).update(torch.zeros(1, 2, 2, dtype=torch.long), torch.tensor([[[0, 1], [2, wrong]]]))


def test_deterministic_mode_does_not_build_a_table_per_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    # torchmetrics' own counting compares every pixel with all 361 bins there: gigabytes for one large image.
    monkeypatch.setattr(torch, "eq", lambda *_: pytest.fail("counted with a table"))
    label = torch.randint(0, 19, (1, 64, 64))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        confusion = DomainConfusion()
        confusion.update(label, label)
    finally:
        torch.use_deterministic_algorithms(False)
    assert confusion.compute().trace() == label.numel()


def test_states_of_two_ranks_add_up() -> None:
    ranks = [DomainConfusion(num_classes=2), DomainConfusion(num_classes=2)]
    for rank in ranks:
        rank.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]]))
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute().tolist() == [[2, 2], [0, 0]]


def test_reset_starts_anew_and_nothing_is_stored_in_checkpoints() -> None:
    confusion = DomainConfusion(num_classes=2)
    confusion.update(torch.tensor([[[0]]]), torch.tensor([[[0]]]))
    confusion.reset()
    assert confusion.confmat.sum() == 0
    assert confusion.state_dict() == {}


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        DomainConfusion().update(torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 5, dtype=torch.long))
