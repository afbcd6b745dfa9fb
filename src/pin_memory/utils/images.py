"""Images as tensors: ImageNet's normalisation and the way back."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet training images, RGB in 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the ImageNet training images, RGB in 0..1."""


class EvalTransform:
    """Normalise an image at its native size; the label only changes its type."""

    def __init__(self, mean: tuple[float, float, float] = IMAGENET_MEAN, std: tuple[float, float, float] = IMAGENET_STD) -> None:
        """Set the normalisation.

        Args:
            mean: Subtracted from the RGB channels in 0..1.
            std: The channels are divided by it afterwards.
        """
        self._mean = torch.tensor(tuple(mean)).view(3, 1, 1) * 255
        self._std = torch.tensor(tuple(std)).view(3, 1, 1) * 255

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Turn a pair into tensors.

        Args:
            image: (H, W, 3) uint8 RGB.
            label: (H, W) uint8 train ids.
            seed: Not used; nothing here is random.

        Returns:
            Image (3, H, W) float32, normalised, and label (H, W) int64.
        """
        # PyTorch takes writable arrays only; these are copied where they are not.
        pixels, classes = (torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in (image, label))
        return pixels.permute(2, 0, 1).contiguous().float().sub_(self._mean).div_(self._std), classes.long()


def denormalize(image: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> np.ndarray:
    """Turn a normalised tensor back into a picture.

    Args:
        image: (3, H, W) float.
        mean: Mean of each channel, in the range 0..1.
        std: Standard deviation of each channel, in the range 0..1.

    Returns:
        Image (H, W, 3) uint8.
    """
    pixels = image.detach().float().cpu().numpy().transpose(1, 2, 0) * np.asarray(std) + np.asarray(mean)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)
