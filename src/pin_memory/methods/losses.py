"""Losses on the segmentation outputs; those on the memory live in `pin_memory.memory.losses`."""

import torch.nn.functional as F
from torch import Tensor

from pin_memory.memory.losses import cross_entropy


def auxiliary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the auxiliary head at its own resolution.

    Args:
        logits: `(B, K, h, w)`.
        labels: `(B, H, W)` train ids, 255 ignored; resized to `(h, w)` by nearest neighbour.

    Returns:
        A scalar >= 0.
    """
    small = F.interpolate(labels.unsqueeze(1).float(), size=logits.shape[-2:], mode="nearest").squeeze(1).long()
    return cross_entropy(logits, small)
