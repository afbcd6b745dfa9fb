"""Whole-image inference: one forward pass at native size (protocol `whole`)."""

import torch
from torch import Tensor

from pin_memory.networks import MemorySegmenter

PROTOCOL = "whole@1"
"""Name and version of the protocol, as recorded with every result."""


@torch.inference_mode()
def predict_whole(network: MemorySegmenter, images: Tensor) -> Tensor:
    """Train ids `(B, H, W)` int64 of normalised images `(B, 3, H, W)`; the network must be in eval mode."""
    return network.segment(images).argmax(dim=1)
