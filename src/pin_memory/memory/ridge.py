"""Ridge regression from feature cells to classes in closed form, as pure functions of tensors.

The base learner of MetaSegNet (Tian et al., AAAI 2020) and R2-D2 (Bertinetto et al., ICLR 2019): `W = argmin ||X W - Y||² + λ ||W||²` with
one row of X for each labelled pixel and one-hot rows Y. Features come in cells, so cells are weighted by their labelled pixels. That equals
the regression over all pixels of features that are enlarged to the labels' size by nearest neighbour, at the cost of the cells.

The solution depends on the images through sums over them alone (`Moments`): they add up over batches and ranks, so several devices get the
solution of one. That takes the system of D features; the other one, of n rows, would need the rows of all images at once.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pin_memory.memory.operations import pixel_counts

Bias = Literal["none", "penalised", "free"]
"""No bias, one that λ shrinks like a weight (a column of ones, as in R2-D2), or one that it does not (a cell's scores then add up to 1)."""


class Moments(NamedTuple):
    """Sums over labelled pixels of features x (D) and one-hot labels y (K).

    Attributes:
        gram: Sum of x xᵀ, `(D, D)`.
        cross: Sum of x yᵀ, `(D, K)`.
        sums: Sum of x, `(D,)`.
        counts: Sum of y, `(K,)`.
    """

    gram: Tensor
    cross: Tensor
    sums: Tensor
    counts: Tensor

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
        """The moments of both."""
        return Moments(*(own + others for own, others in zip(self, other, strict=True)))


class Solution(NamedTuple):
    """Weights `(D, K)`, biases `(K,)` and the ratio of the largest to the smallest pivot of the system, which rises with its condition."""

    weights: Tensor
    bias: Tensor
    pivot_ratio: Tensor


def moments(features: Tensor, labels: Tensor, num_classes: int, class_weights: Tensor | None = None) -> Moments:
    """The moments of features `(B, D, h, w)` whose cells count as often as labels `(B, H, W)` in 0..K-1 have pixels in them.

    With `class_weights` `(K,)`, a pixel of a class counts by its weight.
    """
    counts = pixel_counts(labels, (features.shape[2], features.shape[3]), num_classes, features.dtype)[:, :num_classes]
    y = counts.permute(0, 2, 3, 1).reshape(-1, num_classes)  # (n, K)
    if class_weights is not None:
        y = y * class_weights
    x = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])  # (n, D)
    weighted = x * y.sum(dim=1, keepdim=True)
    return Moments(x.T @ weighted, x.T @ y, weighted.sum(dim=0), y.sum(dim=0))


def solve(found: Moments, regularisation: Tensor, bias: Bias = "penalised", mean_scaled: bool = True) -> Solution:
    """Solve the regression by a Cholesky factor, differentiably.

    Args:
        found: Of all images.
        regularisation: λ > 0, a scalar.
        bias: Which bias.
        mean_scaled: λ weighs against the mean over the labelled pixels (as R2-D2) rather than their sum, so the same λ fits any number.

    Returns:
        Weights and biases: NaN where the system is not positive definite, which takes numbers that are not finite or a λ near 0.
    """
    gram, cross, sums, counts = found
    number = counts.sum().clamp(min=1)
    if bias == "penalised":
        gram = torch.cat([torch.cat([gram, sums[:, None]], dim=1), torch.cat([sums, counts.sum()[None]])[None]])
        cross = torch.cat([cross, counts[None]])
    elif bias == "free":
        gram, cross = gram - torch.outer(sums, sums) / number, cross - torch.outer(sums, counts) / number
    scale = number if mean_scaled else torch.ones_like(number)
    system = gram / scale + regularisation * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor, info = torch.linalg.cholesky_ex(system)
    solved = torch.cholesky_solve(cross / scale, factor)
    solved = torch.where(info == 0, solved, torch.nan)  # found by the check of the step; decided on the device
    pivots = factor.diagonal().detach()
    ratio = pivots.max() / pivots.min()
    if bias == "penalised":
        return Solution(solved[:-1], solved[-1], ratio)
    offset = (counts - sums @ solved) / number if bias == "free" else torch.zeros_like(counts)
    return Solution(solved, offset, ratio)


def scores(features: Tensor, items: Tensor) -> Tensor:
    """`W x + b` of features `(B, D, h, w)` as `(B, K, h, w)`, from items `(K, D + 1)` with the bias last."""
    return torch.einsum("bdhw,kd->bkhw", features, items[:, :-1]) + items[:, -1, None, None]
