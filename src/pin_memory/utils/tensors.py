"""Number formats of tensors."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 at least: positions, pooled sums, unit rows and scores do not survive half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
