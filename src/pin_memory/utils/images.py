"""Images as tensors: bytes until they are on the device, ImageNet's normalisation there, and the way back."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet training images, RGB in 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the ImageNet training images, RGB in 0..1."""


def to_tensors(image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
    """Turn a pair into tensors, at its size and with its values.

    Args:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 train ids.
        seed: Not used; nothing here is random.

    Returns:
        Image (3, H, W) uint8, and label (H, W) int64.
    """
    # PyTorch takes writable arrays only; these are copied where they are not.
    pixels, classes = (torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in (image, label))
    return pixels.permute(2, 0, 1).contiguous(), classes.long()


def normalize(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean from images of bytes and divide by its standard deviation, on the device where they are.

    Args:
        images: (..., 3, H, W), RGB: uint8, or floats that are normalised already.

    Returns:
        float32 for uint8; floats are returned as they are.
    """
    if images.is_floating_point():
        return images
    mean, std = _statistics(images.device)
    return images.float().sub_(mean).div_(std)


def pixels(images: Tensor) -> Tensor:
    """Colours (..., 3, H, W) in 0..255 of normalised images, in their floating point type."""
    mean, std = _statistics(images.device)
    return images * std + mean


def standardized(colours: Tensor) -> Tensor:
    """Normalised images of colours (..., 3, H, W) in 0..255 of a floating point type; the way back from `pixels`."""
    mean, std = _statistics(colours.device)
    return (colours - mean) / std


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation in 0..255, each (3, 1, 1), copied to a device once."""
    with torch.inference_mode(False):  # what is made in inference mode could not be used in training afterwards
        parts = (torch.tensor(values, dtype=torch.float32, device="cpu") for values in (IMAGENET_MEAN, IMAGENET_STD))
        mean, std = ((values.view(3, 1, 1) * 255).to(device) for values in parts)
    return mean, std


def denormalize(image: Tensor) -> np.ndarray:
    """Turn an image (3, H, W), normalised floats or uint8, into a picture (H, W, 3) uint8."""
    channels_last = image.detach().cpu().permute(1, 2, 0)
    if channels_last.dtype == torch.uint8:
        return channels_last.numpy()
    pixels = channels_last.float().numpy() * np.asarray(IMAGENET_STD) + np.asarray(IMAGENET_MEAN)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)
