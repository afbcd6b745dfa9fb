"""The images and windows of an evaluation protocol: scales, places of the windows, and their scores put together at the label's size."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDING = 0.01
"""Pixels by which `window * (1 - overlap)` may exceed an integer: 768 with an overlap written as 0.33333 moves by 512, not by 513."""


class Axis(NamedTuple):
    """The windows along the rows or the columns of an image: its pixels, those of every window, and the first one of each window."""

    length: int
    window: int
    starts: tuple[int, ...]

    def counts(self) -> Tensor:
        """Number of windows that see each pixel, (length,) float32, at least 1; an image's count matrix is the product of its two axes'."""
        counts = torch.zeros(self.length)
        for start in self.starts:
            counts[start : start + self.window] += 1
        return counts


def windows_along(length: int, window: int, overlap: float) -> Axis:
    """Lay windows of one size along an axis, each `ceil(window * (1 - overlap))` pixels after the one before.

    The last one is shifted inwards until it ends with the image, and a window longer than the image is cut to it; nothing is padded.

    Example:
        >>> windows_along(2048, 768, 1 / 3).starts
        (0, 512, 1024, 1280)
        >>> windows_along(500, 768, 1 / 3)
        Axis(length=500, window=500, starts=(0,))
    """
    window = min(window, length)
    stride = max(1, math.ceil(window * (1 - overlap) - _ROUNDING))
    count = math.ceil((length - window) / stride) + 1
    return Axis(length, window, tuple(min(index * stride, length - window) for index in range(count)))


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


def add_resized(total: Tensor, scores: Tensor, source: tuple[int, int], top: int, left: int) -> None:
    """Add the scores `(B, K, h, w)` of a window of an image of size `source`, resized as the image would be, to `total` `(B, K, H, W)`.

    Interpolation is linear in the values, so the windows add up to the interpolated score map of the image, which is never kept itself.
    """
    height, width = scores.shape[-2:]
    if source == tuple(total.shape[-2:]):
        total[..., top : top + height, left : left + width] += scores
        return
    rows, down = interpolation_weights(source[0], total.shape[-2], top, top + height, scores)
    columns, across = interpolation_weights(source[1], total.shape[-1], left, left + width, scores)
    total[..., rows, columns] += down @ (scores @ across.T)


def interpolation_weights(source: int, target: int, start: int, stop: int, like: Tensor) -> tuple[slice, Tensor]:
    """The target pixels that a linear interpolation from `source` to `target` pixels computes from the source pixels `start` to `stop`.

    Returns them with their weights `(targets, stop - start)`, of the type and on the device of `like`: one minus the distance of the two
    pixels' centres, in source pixels, and 0 from a distance of 1 on.
    """
    centres = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(0, source - 1)  # align_corners=False
    near = ((centres > start - 1) & (centres < stop)).nonzero().flatten()
    targets = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)  # a strong reduction can step over a narrow window
    distances = (centres[targets, None] - torch.arange(start, stop)).abs()
    return targets, (1 - distances).clamp(min=0).to(like)
