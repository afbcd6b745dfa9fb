"""How the class vectors of one space lie to each other, and how they are taken into another: from text of D dimensions to items of C.

Items are compared by their cosines alone, which a rotation keeps, so nothing has to be learned to turn one into the other.
"""

import torch
from torch import Tensor

from pin_memory.memory.operations import unit
from pin_memory.utils.errors import ConfigurationError


def centre(rows: Tensor) -> Tensor:
    """Rows `(K, D)` minus their mean, unit again: what all names have in common goes, their differences stay."""
    return unit(rows - rows.mean(dim=0))


def gram(rows: Tensor) -> Tensor:
    """Cosines `(K, K)` between the class-centred unit rows of `(K, D)`: the structure of the classes, whatever space they lie in."""
    centred = centre(unit(rows))
    return centred @ centred.T


def isometry(rows: Tensor, channels: int, seed: int) -> Tensor:
    """Text `(K, D)` in a random frame of C dimensions, `(K, C)`, with all cosines kept.

    With the thin decomposition `T = U S Vᵀ` it is `U S Qᵀ`; the columns of Q are orthonormal and drawn with `seed`.

    Raises:
        ConfigurationError: There are fewer channels than classes.
    """
    scores = _principal(rows, channels)
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randn(channels, scores.shape[1], generator=generator, dtype=torch.float64, device="cpu")
    return (scores @ torch.linalg.qr(frame).Q.T).to(rows)


def procrustes(rows: Tensor, items: Tensor) -> Tensor:
    """Text `(K, D)` rotated as near to the items `(K, C)` as it gets, `(K, C)`, with all cosines kept.

    `Q = argmin ‖U S Qᵀ - P‖ = A Bᵀ` from the decomposition `Pᵀ U S = A Σ Bᵀ` (orthogonal Procrustes problem). Rows of zeros have no say.

    Raises:
        ConfigurationError: There are fewer channels than classes.
    """
    scores = _principal(rows, items.shape[1])
    left, _, right = torch.linalg.svd(items.detach().cpu().double().T @ scores, full_matrices=False)
    return (scores @ (left @ right).T).to(rows)


def _principal(rows: Tensor, channels: int) -> Tensor:
    """`U S` `(K, min(K, D))` of text `(K, D)`, float64 on the CPU: the rows in coordinates of their own."""
    check_channels(rows, channels)
    left, scale, _ = torch.linalg.svd(rows.detach().cpu().double(), full_matrices=False)
    return left * scale


def check_channels(rows: Tensor, channels: int) -> None:
    """Refuse features of fewer channels than text `(K, D)` may span dimensions."""
    if (needed := min(rows.shape)) > channels:
        raise ConfigurationError(
            f"Text of {len(rows)} classes spans up to {needed} dimensions, and the features have {channels}: set"
            f" network.channels={needed} or more."
        )
