"""A trained network for images: RGB in, train ids out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import to_tensors
from pin_memory.utils.labels import CITYSCAPES, LabelSpace

_SMALLEST = 1e-30
"""Smaller probabilities are raised to it: their logarithm is finite, and fits in half precision."""


class Segmentation(NamedTuple):
    """A segmented image.

    Attributes:
        mask: Train ids `(H, W)` uint8.
        confidence: The highest class probability `(H, W)` float32, 0..1, where it was requested.
        logits: Logarithms of the class probabilities `(K, H, W)` float16, where they were requested.
    """

    mask: np.ndarray
    confidence: np.ndarray | None = None
    logits: np.ndarray | None = None


class Predictor:
    """Segments RGB images of any size with a trained network.

    Args:
        network: The trained network.
        device: Where it runs.
        label_space: What the train ids stand for.
        statistics: What batch norm normalises by.
        protocol: How the network is applied to an image; its evaluation views belong to data sets, these images are taken as they are.
    """

    def __init__(
        self,
        network: MemorySegmenter,
        device: str | torch.device = "cpu",
        label_space: LabelSpace = CITYSCAPES,
        statistics: BatchNormStatistics = RUNNING,
        protocol: Protocol = WHOLE,
    ) -> None:
        self.label_space, self.statistics, self.protocol = label_space, statistics, protocol
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Segment one image.

        Args:
            rgb: `(H, W, 3)` uint8, red first.

        Returns:
            Train ids `(H, W)` uint8 in 0..K-1.

        Raises:
            ValueError: Another shape or type.
        """
        return self.segment([rgb])[0].mask

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Class probabilities of one image.

        Args:
            rgb: `(H, W, 3)` uint8, red first.

        Returns:
            `(K, H, W)` float32, sum 1 over the classes.

        Raises:
            ValueError: Another shape or type.
        """
        scores = self.protocol.probabilities(self.network, self._batch([rgb]), statistics=self.statistics)
        return _array(scores[0], torch.float32)

    @torch.inference_mode()
    def segment(self, images: Sequence[np.ndarray], confidence: bool = False, logits: bool = False) -> list[Segmentation]:
        """Segment images of one size together.

        Args:
            images: Each `(H, W, 3)` uint8, red first.
            confidence: Also return the highest class probability of each pixel.
            logits: Also return the logarithms of the class probabilities, that is the logits up to a constant per pixel.

        Returns:
            One for each image.

        Raises:
            ValueError: Another shape or type, or images of several sizes.
        """
        scores = self.protocol.scores(self.network, self._batch(images), statistics=self.statistics)
        masks = scores.max(dim=1).indices
        if confidence or logits:
            # Straight from the logits where there are some: probabilities of nearly 1 cannot be distinguished.
            averaged = self.protocol.scores_are_probabilities
            scores = scores.clamp_(min=_SMALLEST).log_() if averaged else scores.log_softmax(dim=1)
        highest = [_array(values, torch.float32) for values in scores.amax(dim=1).exp()] if confidence else [None] * len(images)
        logarithms = [_array(values, torch.float16) for values in scores] if logits else [None] * len(images)
        return [Segmentation(_array(mask, torch.uint8), *rest) for mask, *rest in zip(masks, highest, logarithms, strict=True)]

    def _batch(self, images: Sequence[np.ndarray]) -> Tensor:
        """The images `(B, 3, H, W)` uint8 on the network's device."""
        for rgb in images:
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.shape != images[0].shape:
                raise ValueError(f"expected RGB images (H, W, 3) uint8 of one size, found {rgb.shape} {rgb.dtype}")
        label = np.zeros(images[0].shape[:2], np.uint8)
        return torch.stack([to_tensors(rgb, label)[0] for rgb in images]).to(self.device)


def _array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray:
    return tensor.to(dtype=dtype, device="cpu").numpy()
