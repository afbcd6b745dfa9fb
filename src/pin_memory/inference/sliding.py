"""Where the windows of a sliding-window evaluation lie, and how many of them see each pixel."""

import math
from typing import NamedTuple

import torch
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
