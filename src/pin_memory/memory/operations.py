"""What is done with a categorical memory, as pure functions of tensors.

Pin the Memory (Kim et al., CVPR 2022), section 3: similarity and read (eq. 1-3), prototypes by masked average pooling (eq. 4) and the
momentum write (eq. 5). Shapes: features `(B, C, h, w)`, memory items `(K, C)` with unit rows, labels `(B, H, W)` with train ids 0..K-1 or
255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-12


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 at least: positions, pooled sums, unit rows and scores do not survive half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def unit(x: Tensor, dim: int = 1) -> Tensor:
    """Scale `x` to unit length along `dim`; a zero vector stays zero and has a finite gradient."""
    return F.normalize(x, dim=dim, eps=_EPSILON)


def similarity(queries: Tensor, items: Tensor) -> Tensor:
    """Cosine similarity of every feature cell with every memory item.

    Args:
        queries: Unit feature vectors `(B, C, h, w)`.
        items: Memory items `(K, C)`.

    Returns:
        `(B, K, h, w)` in [-1, 1].
    """
    return torch.einsum("bchw,kc->bkhw", queries, items)


def read_out(scores: Tensor, items: Tensor, gumbel: bool = False, temperature: float = 1.0) -> Tensor:
    """Mix the memory items by the soft-max of their similarities.

    Args:
        scores: Similarities `(B, K, h, w)`.
        items: Memory items `(K, C)`.
        gumbel: Perturb the similarities with Gumbel noise (soft sample); for training only.
        temperature: What the similarities are divided by, before any noise: cosines differ by 2 at most, so with the released 1 the
            largest weight is at most e² times the smallest, and the noise outweighs them; a smaller one lets the nearest items win.

    Returns:
        The read-out `(B, C, h, w)`.
    """
    scores = scores / temperature
    weights = F.gumbel_softmax(scores, tau=1.0, dim=1) if gumbel else scores.softmax(dim=1)
    return torch.einsum("bkhw,kc->bchw", weights, items)


def class_shares(labels: Tensor, size: tuple[int, int], num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Share of each class in each cell of a coarser grid.

    Equals the bilinear resize (`align_corners=True`) of the one-hot label map, of which a cell sees four pixels only. Those four are
    gathered, so the one-hot map in full resolution, 20 times the label map, is never made. Ignored pixels take a share that is dropped.

    Args:
        labels: `(B, H, W)` train ids; everything outside 0..K-1 is ignored.
        size: The grid `(h, w)`.
        num_classes: K.
        dtype: Floating type of the result.

    Returns:
        `(B, K, h, w)` in [0, 1]; a cell sums to at most 1.
    """
    rows, columns = _taps(labels.shape[1], size[0], labels.device, dtype), _taps(labels.shape[2], size[1], labels.device, dtype)
    labels = torch.where((labels >= 0) & (labels < num_classes), labels, num_classes)
    shares = torch.zeros(labels.shape[0], num_classes + 1, *size, device=labels.device, dtype=dtype)
    for row, row_weight in rows:
        for column, column_weight in columns:
            seen = labels[:, row][:, :, column].unsqueeze(1)
            shares.scatter_add_(1, seen, (row_weight[:, None] * column_weight).expand(seen.shape))
    return shares[:, :num_classes]


def class_shares_by_area(labels: Tensor, size: tuple[int, int], num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Share of each class in the pixels of each cell of a coarser grid; no pixel is overlooked.

    A pixel belongs to the cell that its centre lies in. Takes and returns what `class_shares` does.
    """
    counts = pixel_counts(labels, size, num_classes, dtype)
    return counts[:, :num_classes] / counts.sum(dim=1, keepdim=True).clamp(min=1)


def pixel_counts(labels: Tensor, size: tuple[int, int], num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels of each class in each cell of a coarser grid, `(B, K + 1, h, w)`: those that are ignored come last.

    Takes what `class_shares` does.
    """
    batch, height, width = labels.shape
    rows = ((torch.arange(height, device=labels.device) + 0.5) * size[0] / height).long()
    columns = ((torch.arange(width, device=labels.device) + 0.5) * size[1] / width).long()
    cell = (rows[:, None] * size[1] + columns).flatten().expand(batch, -1)
    labels = torch.where((labels >= 0) & (labels < num_classes), labels, num_classes).flatten(1)
    counts = torch.zeros(batch, (num_classes + 1) * size[0] * size[1], device=labels.device, dtype=dtype)
    counts.scatter_add_(1, labels * (size[0] * size[1]) + cell, torch.ones((), device=labels.device, dtype=dtype).expand(labels.shape))
    return counts.view(batch, num_classes + 1, *size)


def _taps(length: int, cells: int, device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """The two source positions and weights of each cell in a linear resize with aligned corners."""
    step = (length - 1) / (cells - 1) if cells > 1 else 0.0
    position = torch.arange(cells, device=device, dtype=dtype) * step
    low = position.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    weight = position - low
    return [(low, 1 - weight), (high, weight)]


def class_sums(vectors: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of masked average pooling (eq. 4), apart so that they can be added over batches and ranks.

    Args:
        vectors: `(B, C, h, w)`.
        shares: Class shares `(B, K, h, w)`.

    Returns:
        Share-weighted sums `(K, C)` and total shares `(K,)`.
    """
    return torch.einsum("bkhw,bchw->kc", shares, vectors), shares.sum(dim=(0, 2, 3))


def momentum_write(
    items: Tensor, sums: Tensor, totals: Tensor, momentum: float, anchor: Tensor | None = None, anchor_weight: float = 0.0
) -> Tensor:
    """Move each seen class's item towards its prototype and normalise every row (eq. 5).

    Args:
        items: The memory before, `(K, C)`; a constant here, gradient reaches the encoder and the update network through `sums`.
        sums: `(K, C)` from `class_sums`.
        totals: `(K,)` from `class_sums`; classes with zero keep their item.
        momentum: Weight λ of the old item, in [0, 1].
        anchor: Unit rows `(K, C)` that the items are kept near to (ours), or None.
        anchor_weight: Weight ρ of the anchor, at the cost of the prototype's: `λ M + (1 - λ - ρ) P + ρ T`.

    Returns:
        The memory after, `(K, C)`, unit rows; a row that was zero and has not been seen stays zero.
    """
    items = items.detach()
    seen = (totals > 0).unsqueeze(1)
    prototypes = sums / torch.where(seen, totals.unsqueeze(1), 1)
    moved = momentum * items + (1 - momentum - anchor_weight) * prototypes
    if anchor is not None:
        moved = moved + anchor_weight * anchor
    return unit(torch.where(seen, moved, items))
