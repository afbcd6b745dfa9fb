"""Heads that are fitted to a support: prototypes by a loop over pixels, a linear classifier by another solver, any number of classes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from pin_memory.memory import Classifier, LinearMemory, PrototypeMemory, RidgeMemory

HEADS = [RidgeMemory, PrototypeMemory, LinearMemory]


def support(classes: int = 3) -> tuple[Tensor, Tensor]:
    """Features of two images in cells of four pixels, and labels of which some are ignored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (2, 8, 12), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64), labels


def pixels(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Features and labels of the labelled pixels, by nearest enlargement."""
    large = features.repeat_interleave(2, 2).repeat_interleave(2, 3).permute(0, 2, 3, 1)
    return large[labels != 255], labels[labels != 255]


def test_prototypes() -> None:
    """The mean over the images of the mean over the pixels; the cosine times 20."""
    features, labels = support()
    labels[0][labels[0] == 2] = 255  # one class in one image alone
    head = PrototypeMemory(4, 5)
    items = head.fit(features, labels)
    for own in range(3):
        means = [x[y == own].mean(dim=0) for x, y in (pixels(features[i : i + 1], labels[i : i + 1]) for i in range(2)) if (y == own).any()]
        torch.testing.assert_close(items[own], torch.stack(means).mean(dim=0))
    assert not items[3].any()  # no pixel
    scores = head.read(features, items).fused
    cell = features[1, :, 2, 3]
    assert float(scores[1, 1, 2, 3]) == pytest.approx(20 * float(torch.cosine_similarity(cell, items[1], dim=0)))
    assert not scores[:, 3].any()
    assert torch.autograd.gradcheck(lambda x: head.fit(x, labels), features.clone().requires_grad_())


def test_a_linear_head_is_fitted_to_all_pixels() -> None:
    """To the minimum that scipy finds, of the cross entropy with the penalty on the weights alone."""
    features, labels = support()
    x, y = (part.numpy() for part in pixels(features, labels))
    x = np.c_[x, np.ones(len(x))]

    def objective(flat: np.ndarray) -> float:
        items = flat.reshape(3, 6)
        scores = x @ items.T
        entropy = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(y)), y]
        return float(entropy.mean() + 0.005 * np.square(items[:, :-1]).sum())

    best = minimize(objective, np.zeros(18), method="BFGS", options={"gtol": 1e-9})
    found = LinearMemory(3, 5, steps=3000, weight_decay=0.01).fit(features, labels)
    assert objective(found.numpy().ravel()) == pytest.approx(best.fun, abs=1e-8)
    assert not found.requires_grad
    usual = LinearMemory(3, 5).fit(1000 * features, labels)  # whatever the scale
    assert torch.isfinite(usual).all()
    assert objective(usual.numpy().ravel() * np.tile([1000.0] * 5 + [1.0], 3)) < math.log(3)


@pytest.mark.parametrize("kind", HEADS)
def test_heads_know_no_class(kind: type[Classifier]) -> None:
    """Classes in another order are rows in another order; another number is a matter of `resize`; autocast changes nothing."""
    features, labels = support()
    head = kind(3, 5).double()
    items = head.fit(features, labels)
    assert items.shape == head.items.shape
    order = torch.tensor([2, 0, 1])
    permuted = head.fit(features, torch.where(labels == 255, 255, order[labels.clamp(max=2)]))
    torch.testing.assert_close(permuted[order], items)
    head.resize(4)
    assert head.fit(features, labels).shape == head.items.shape
    if kind is not LinearMemory:  # whose soft-max is over all classes
        torch.testing.assert_close(head.fit(features, labels)[:3], items)
    assert head.read(features, items).fused.shape == (2, 3, 4, 6)
    single = kind(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert single.fit(features.bfloat16(), labels).dtype == torch.float32
        assert torch.isfinite(single.read(features.bfloat16(), items.float()).fused).all()


@pytest.mark.parametrize(("balance", "times"), [(0.0, 1), (0.5, 2), (1.0, 4)])
@pytest.mark.parametrize("kind", [RidgeMemory, LinearMemory])
def test_balance(kind: Any, balance: float, times: int) -> None:
    """As if each class had as many pixels, or half the way there: those of the rare one are repeated."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 5, 1, 12, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[[0] * 8 + [1] * 2 + [255, 255]]])
    repeated = torch.cat([features[..., :8], features[..., 8:10].repeat(1, 1, 1, times)], dim=3)
    expected = kind(3, 5).double().fit(repeated, torch.tensor([[[0] * 8 + [1] * 2 * times]]))
    torch.testing.assert_close(kind(3, 5, balance=balance).double().fit(features, labels), expected)
