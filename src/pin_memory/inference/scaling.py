"""Images at other scales, and scores brought back to the size of the label, window by window."""

import torch
import torch.nn.functional as F
from torch import Tensor


def scaled_size(height: int, width: int, scale: float, longest: int | None = None) -> tuple[int, int]:
    """Size of an image at a scale; the longer side becomes at most `longest` pixels.

    Example:
        >>> scaled_size(1024, 2048, 0.75), scaled_size(1024, 2048, 2.0, longest=2048)
        ((768, 1536), (1024, 2048))
    """
    if longest is not None:
        scale = min(scale, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize normalised images `(B, 3, H, W)` bilinearly, with low-pass filter where they shrink, as Pillow does."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def interpolation_block(source: int, target: int, start: int, stop: int, like: Tensor) -> tuple[slice, Tensor]:
    """The part of a linear interpolation from `source` to `target` pixels that reads the source pixels `start` to `stop`.

    Pixel centres lie at halves (`align_corners=False`). Interpolation is linear in the values, so the parts of windows that cover an axis
    add up to the interpolation of the whole; only one score map at the label's size is then ever kept, whatever the scale.

    Args:
        source: Pixels of the axis that is read.
        target: Pixels of the axis that is written.
        start: First source pixel of the part.
        stop: The pixel after its last one.
        like: Gives type and device.

    Returns:
        The target pixels that depend on the part, and their weights (targets, stop - start).
    """
    centres = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(0, source - 1)
    low = centres.floor().long()
    high = (low + 1).clamp(max=source - 1)
    touched = ((high >= start) & (low < stop)).nonzero().flatten()
    if not len(touched):  # a strong reduction can step over a narrow part
        return slice(0, 0), like.new_zeros(0, stop - start)
    rows = slice(int(touched[0]), int(touched[-1]) + 1)
    fraction = (centres - low)[rows]
    weights = torch.zeros(rows.stop - rows.start, stop - start, dtype=torch.float64)
    for taps, share in ((low[rows], 1 - fraction), (high[rows], fraction)):
        inside = ((taps >= start) & (taps < stop)).nonzero().flatten()
        weights.index_put_((inside, taps[inside] - start), share[inside], accumulate=True)
    return rows, weights.to(like)


def add_resized(total: Tensor, scores: Tensor, source: tuple[int, int], top: int, left: int) -> None:
    """Add a window's scores to those of the whole, resized from the image's size to that of `total`.

    Args:
        total: `(B, K, H, W)`; written to.
        scores: The window's, `(B, K, h, w)`.
        source: Size of the image that the window was cut from.
        top: First row of the window in it.
        left: First column of the window in it.
    """
    height, width = scores.shape[-2:]
    if source == tuple(total.shape[-2:]):
        total[..., top : top + height, left : left + width] += scores
        return
    rows, down = interpolation_block(source[0], total.shape[-2], top, top + height, scores)
    columns, across = interpolation_block(source[1], total.shape[-1], left, left + width, scores)
    total[..., rows, columns] += down @ (scores @ across.T)
