"""Several images of one size through a network at once, with what is to be saved of the scores."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pin_memory.inference import Predictor
from pin_memory.utils.images import EvalTransform
from pin_memory.utils.labels import LabelSpace

_SMALLEST = 1e-30
"""Probabilities below it count as it: their logarithm is finite, and fits in half precision."""


class Segmentation(NamedTuple):
    """Train ids (H, W) uint8; the highest probability (H, W) float32 and the logits (K, H, W) float16, where they are wanted."""

    mask: np.ndarray
    confidence: np.ndarray | None = None
    logits: np.ndarray | None = None


class Model(Protocol):
    """What segments images of one size; `Segmenter` does."""

    @property
    def label_space(self) -> LabelSpace:
        """What the train ids stand for."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[Segmentation]:
        """Segment images (H, W, 3) uint8 RGB."""


class Segmenter:
    """Segments batches of images with a trained network.

    Args:
        predictor: The network and how it is applied.
        confidence: Also return the highest probability of each pixel.
        logits: Also return the logits of each pixel.
    """

    def __init__(self, predictor: Predictor, confidence: bool = False, logits: bool = False) -> None:
        self.predictor, self.confidence, self.logits = predictor, confidence, logits
        self._transform = EvalTransform()

    @property
    def label_space(self) -> LabelSpace:
        """What the train ids stand for."""
        return self.predictor.label_space

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[Segmentation]:
        """Segment images of one size.

        Args:
            images: Each (H, W, 3) uint8 RGB.
        """
        nothing = np.zeros(images[0].shape[:2], np.uint8)
        batch = torch.stack([self._transform(image, nothing)[0] for image in images]).to(self.predictor.device)
        model = self.predictor
        if not (self.confidence or self.logits):
            masks = model.protocol.predict(model.network, batch, statistics=model.statistics)
            return [Segmentation(_array(mask, torch.uint8)) for mask in masks]
        masks, scores = self._scores(batch)
        confidence = scores.amax(dim=1).exp() if self.confidence else [None] * len(images)
        logits = scores.half() if self.logits else [None] * len(images)
        return [
            Segmentation(_array(mask, torch.uint8), None if sure is None else _array(sure), None if score is None else _array(score))
            for mask, sure, score in zip(masks, confidence, logits, strict=True)
        ]

    def _scores(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Train ids (B, H, W), the same as without scores, and logarithms of the probabilities (B, K, H, W)."""
        model = self.predictor
        if model.protocol.plain:  # straight from the logits: probabilities of nearly 1 cannot be told apart
            with model.statistics.applied(model.network):
                groups = model.statistics.groups(batch)
                logits = torch.cat([model.network.segment(group) for group in groups]).float()
            return logits.argmax(dim=1), logits.log_softmax(dim=1)
        probabilities = model.protocol.probabilities(model.network, batch, statistics=model.statistics)
        return probabilities.argmax(dim=1), probabilities.clamp_(min=_SMALLEST).log_()


def _array(tensor: Tensor, dtype: torch.dtype | None = None) -> np.ndarray:
    """A tensor on its way to a file."""
    return tensor.to(dtype=dtype or tensor.dtype, device="cpu").numpy()
