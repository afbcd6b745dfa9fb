"""Whole-image inference: one forward pass at native size (protocol `whole`)."""

from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, TestStatistics
from pin_memory.inference.protocol import WHOLE
from pin_memory.networks import MemorySegmenter


def predict_whole(
    network: MemorySegmenter, images: Tensor, size: tuple[int, int] | None = None, statistics: TestStatistics = RUNNING
) -> Tensor:
    """Segment whole images.

    Args:
        network: In eval mode.
        images: Normalised, `(B, 3, H, W)`.
        size: The logits are resized to it; by default to that of the images.
        statistics: What batch norm normalises by.

    Returns:
        Train ids `(B, *size)` int64.
    """
    return WHOLE.predict(network, images, size, statistics)
