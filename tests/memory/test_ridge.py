"""The ridge regression against least squares, scikit-learn, golden numbers, loops over pixels and finite differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pin_memory.memory import ridge
from pin_memory.memory.ridge import Bias, Moments, Solution

LAMBDA = 0.5
GOLDEN: dict[tuple[str, bool], list[list[float]]] = {
    ("none", False): [
        [0.703668895722, 0.296159884032, 0.251920721631], [-0.132838497337, -0.073125545863, 0.128602253258],
        [0.446139393617, 0.374146605832, -0.11029031642], [0.04549665999, 0.269635831458, 0.026758535564],
    ],
    ("none", True): [
        [0.12281505822, -0.011810101003, 0.099573435777], [0.018859058454, -0.028974988825, 0.030358939359],
        [0.008268562751, 0.06378219365, -0.073263222767], [-0.042595447775, 0.057319981832, -0.044729495147],
    ],
    ("penalised", True): [
        [0.078048646831, -0.060969186462, 0.054843384727], [0.014555640353, -0.033700676938, 0.026059016596],
        [0.008526318389, 0.064065241388, -0.073005676484], [-0.036216757099, 0.064324577249, -0.038355985395],
        [0.212587866933, 0.233447908683, 0.212415198037],
    ],
    ("free", True): [
        [0.054827594946, -0.086468788476, 0.03164119353], [0.012323388718, -0.036151966767, 0.023828578049],
        [0.008660020352, 0.064212062765, -0.072872083117], [-0.032908028467, 0.067957972657, -0.035049944191],
        [0.322860585586, 0.354541063836, 0.322598350578],
    ],
}  # fmt: skip
"""Weights, then the bias where there is one, of `golden_rows`: computed in numpy by another hand."""


def rows(x: Tensor, labels: Tensor, classes: int) -> Moments:
    """The moments of rows `(n, D)` with labels `(n,)`: an image of one line whose cells are its pixels."""
    return ridge.moments(x.T[None, :, None, :], labels[None, None, :], classes)


def golden_rows() -> tuple[Tensor, Tensor]:
    """Rows and labels that need no generator."""
    i, j = torch.arange(12, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    return torch.sin(1 + 3 * i + 5 * j) + 0.1 * torch.cos(i * j), torch.arange(12) * 7 % 3


def random_rows(n: int = 40, features: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Rows and labels by chance."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, features, generator=generator, dtype=torch.float64), torch.randint(0, classes, (n,), generator=generator)


def solved(x: Tensor, labels: Tensor, bias: Bias = "none", mean_scaled: bool = False, regularisation: float = LAMBDA) -> Solution:
    """The regression of rows on their labels."""
    return ridge.solve(rows(x, labels, 3), torch.tensor(regularisation, dtype=x.dtype), bias, mean_scaled)


@pytest.mark.parametrize(("bias", "mean_scaled"), GOLDEN)
def test_golden_numbers(bias: Bias, mean_scaled: bool) -> None:
    found = solved(*golden_rows(), bias, mean_scaled)
    together = found.weights if bias == "none" else torch.cat([found.weights, found.bias[None]])
    torch.testing.assert_close(together, torch.tensor(GOLDEN[bias, mean_scaled], dtype=torch.float64), rtol=0, atol=1e-12)
    assert bool((found.bias == 0).all()) == (bias == "none")


@pytest.mark.parametrize("regularisation", [1e-3, 1.0, 50.0])
def test_least_squares_and_the_other_system(regularisation: float) -> None:
    """numpy's least squares on the rows with √λ I below them, and the system of n rows (Woodbury)."""
    x, labels = random_rows(n=40)
    y = F.one_hot(labels, 3).double()
    found = solved(x, labels, regularisation=regularisation).weights
    below = np.concatenate([x.numpy(), np.sqrt(regularisation) * np.eye(6)])
    expected = np.linalg.lstsq(below, np.concatenate([y.numpy(), np.zeros((6, 3))]), rcond=None)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    dual = x.T @ torch.linalg.solve(x @ x.T + regularisation * torch.eye(40, dtype=torch.float64), y)
    torch.testing.assert_close(found, dual, rtol=0, atol=1e-9)


@pytest.mark.parametrize("intercept", [False, True])
def test_scikit_learn(intercept: bool) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is an extra (analysis)")
    x, labels = random_rows()
    expected = linear_model.Ridge(alpha=LAMBDA, fit_intercept=intercept).fit(x.numpy(), F.one_hot(labels, 3).double().numpy())
    found = solved(x, labels, "free" if intercept else "none")
    np.testing.assert_allclose(found.weights.T.numpy(), expected.coef_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.bias.numpy(), np.broadcast_to(expected.intercept_, 3), rtol=0, atol=1e-12)


def test_more_features_than_rows() -> None:
    """The system of D features is well posed by λ alone; in float32, too."""
    x, labels = random_rows(n=5, features=12)
    y, regularisation = F.one_hot(labels, 3).double(), 1.0
    dual = x.T @ torch.linalg.solve(x @ x.T + regularisation * torch.eye(5, dtype=torch.float64), y)
    torch.testing.assert_close(solved(x, labels, regularisation=regularisation).weights, dual, rtol=0, atol=1e-12)
    torch.testing.assert_close(solved(x.float(), labels, regularisation=regularisation).weights, dual.float(), rtol=0, atol=1e-5)


def test_gradients() -> None:
    """First and second order against finite differences, for every bias, and λ, α and β; the closed form of the first."""
    x, labels = random_rows(n=7, features=3)
    x, regularisation = x.requires_grad_(), torch.tensor(LAMBDA, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(1, 3, 2, 2, dtype=torch.float64)
    scale, shift = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (10.0, 0.1))
    for bias in ("none", "penalised", "free"):

        def loss(x: Tensor, regularisation: Tensor, scale: Tensor, shift: Tensor, bias: Bias = bias) -> Tensor:
            found = ridge.solve(rows(x, labels, 3), regularisation, bias)
            items = torch.cat([found.weights, found.bias[None]]).T
            return F.cross_entropy((scale * ridge.scores(queries, items) + shift).square(), torch.tensor([[[0, 1], [2, 1]]]))

        assert torch.autograd.gradcheck(loss, (x, regularisation, scale, shift))
        assert torch.autograd.gradgradcheck(loss, (x, regularisation, scale, shift))

    y, upstream = F.one_hot(labels, 3).double(), torch.randn(3, 3, dtype=torch.float64)
    weights = ridge.solve(rows(x, labels, 3), regularisation, "none", mean_scaled=False).weights
    by_x, by_lambda = torch.autograd.grad((weights * upstream).sum(), (x, regularisation))
    w, x = weights.detach(), x.detach()
    v = torch.linalg.solve(x.T @ x + LAMBDA * torch.eye(3, dtype=torch.float64), upstream)
    torch.testing.assert_close(by_x, (y - x @ w) @ v.T - x @ v @ w.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(by_lambda, -(v * w).sum(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [(4, 3), (9, 11), (2, 5)])
def test_cells_equal_a_loop_over_pixels(size: tuple[int, int]) -> None:
    """Weighted cells are all pixels of features that are enlarged by nearest neighbour; ignored pixels and other ids take no part."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 5, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 9, 11), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    labels[0, 0, 0] = 7
    large = F.interpolate(features, size=(9, 11), mode="nearest-exact")
    x, y = [], []
    for b, r, c in np.ndindex(2, 9, 11):
        if labels[b, r, c] < 3:
            x.append(large[b, :, r, c])
            y.append(labels[b, r, c])
    for found, expected in zip(ridge.moments(features, labels, 3), rows(torch.stack(x), torch.stack(y), 3), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    loop = np.linalg.inv((m := torch.stack(x).numpy()).T @ m / len(x) + LAMBDA * np.eye(5)) @ m.T @ np.eye(3)[torch.stack(y)] / len(x)
    found = ridge.solve(ridge.moments(features, labels, 3), torch.tensor(LAMBDA), "none")
    np.testing.assert_allclose(found.weights.numpy(), loop, rtol=0, atol=1e-13)


@pytest.mark.parametrize("bias", ["none", "penalised", "free"])
def test_invariances(bias: Bias) -> None:
    """Order and repetition of rows, sums of moments, rotation of the features, permutation of the classes."""
    x, labels = random_rows()
    found = solved(x, labels, bias, mean_scaled=True)

    def same(other: Solution, weights: Tensor = found.weights, offset: Tensor = found.bias) -> None:
        torch.testing.assert_close(other.weights, weights, rtol=0, atol=1e-12)
        torch.testing.assert_close(other.bias, offset, rtol=0, atol=1e-12)

    order = torch.randperm(len(x))
    same(solved(x[order], labels[order], bias, mean_scaled=True))
    same(solved(x.repeat(2, 1), labels.repeat(2), bias, mean_scaled=True))
    unscaled = solved(x, labels, bias)
    same(solved(x.repeat(2, 1), labels.repeat(2), bias, regularisation=2 * LAMBDA), *unscaled[:2])
    same(solved(x, labels, bias, regularisation=LAMBDA * len(x)), *found[:2])
    parts = [rows(x[part], labels[part], 3) for part in (slice(0, 15), slice(15, None))]
    same(ridge.solve(parts[0] + parts[1], torch.tensor(LAMBDA), bias))
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    same(solved(x @ rotation, labels, bias, mean_scaled=True), rotation.T @ found.weights)
    permutation = torch.tensor([2, 0, 1])
    same(solved(x, permutation[labels], bias, mean_scaled=True), found.weights[:, permutation.argsort()], found.bias[permutation.argsort()])
    sums = (x @ found.weights + found.bias).sum(dim=1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-12) == (bias == "free")


def test_limits() -> None:
    """A large λ gives no weights, a small one least squares; without labels there is nothing but λ."""
    x, labels = random_rows()
    assert solved(x, labels, "penalised", regularisation=1e9).weights.abs().max() < 1e-7
    least_squares = torch.linalg.lstsq(x, F.one_hot(labels, 3).double()).solution
    torch.testing.assert_close(solved(x, labels, regularisation=1e-10).weights, least_squares, rtol=0, atol=1e-9)
    for bias in ("none", "penalised", "free"):
        found = solved(x, torch.full_like(labels, 255), bias, mean_scaled=True)
        assert found.weights.abs().max() == found.bias.abs().max() == 0
        assert found.pivot_ratio == 1 or bias != "none"


def test_what_cannot_be_solved_is_not_a_number() -> None:
    """No silent jitter: rank-deficient rows without λ, or features that are not finite."""
    x, labels = random_rows()
    assert solved(x[:, :1] * torch.ones(6, dtype=torch.float64), labels, regularisation=-1e-3).weights.isnan().all()
    x[0, 0] = torch.inf
    assert solved(x, labels).weights.isnan().any()
