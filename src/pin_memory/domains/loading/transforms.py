"""Augmentation for training and normalisation for evaluation (section "Constants" of the method: scale, crop, flip, jitter, blur).

Geometry is applied to image and label together. The scaled image is never made in full: the crop window is cut out of the original and only
that part is resized, which gives the pixels of scaling first and cropping afterwards at the cost of one crop.
"""

import copy
import math
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD, EvalTransform

# Must be set before the import, which otherwise asks a server whether there is a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE

_MAX_CROP = 16_384  # pixels of a side; a slip of the keyboard must not ask for all memory
_MAX_SCALE = 100


class TrainTransform:
    """The published augmentation: random scale and crop, flip, colour jitter, Gaussian blur, normalisation.

    Everything random about a call follows from its seed.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int] = 768,
        scale: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        color_jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
        jitter_probability: float = 0.5,
        blur_sigma: tuple[float, float] | None = (0.15, 1.3),
        gamma: tuple[float, float] | None = None,
        grey: float = 0.0,
        noise_sigma: tuple[float, float] | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        """Set the strength of each step.

        Args:
            crop_size: Side of the square crop, or (height, width), in pixels after scaling.
            scale: Range of the uniform scale factor.
            flip: Probability of a left-right flip.
            color_jitter: Largest change of brightness, contrast, saturation (factor 1 ± x) and hue (turn ± x, at most 0.5).
            jitter_probability: Probability of the colour jitter.
            blur_sigma: Range of the standard deviation of the Gaussian blur in pixels; None for no blur.
            gamma: Range of an exponent on the brightness in 0..1: above 1 makes pictures darker, below 1 lighter; None for none.
            grey: Probability of a picture without colours.
            noise_sigma: Range of the standard deviation of Gaussian noise, as a share of the brightness range; None for none.
            mean: As in `EvalTransform`.
            std: As in `EvalTransform`.

        Raises:
            ConfigurationError: A value is out of its range.
        """
        height, width = _sides(crop_size)
        _check_ranges(scale, flip, color_jitter, jitter_probability, blur_sigma, gamma, grey, noise_sigma)
        _require(0 < scale[0] <= scale[1] <= _MAX_SCALE, f"scale must be an increasing range above 0 and up to {_MAX_SCALE}, found {scale}")
        _require(0 <= flip <= 1 and 0 <= jitter_probability <= 1, "flip and jitter_probability must lie in 0..1")
        _require(min(color_jitter) >= 0 and color_jitter[3] <= 0.5, f"color_jitter must not be negative, hue at most 0.5: {color_jitter}")
        factors = [(max(0.0, 1 - change), 1 + change) for change in color_jitter[:3]]
        hue = (-color_jitter[3], color_jitter[3])
        steps: list[Any] = [
            RandomScaleCrop((height, width), (scale[0], scale[1])),
            A.HorizontalFlip(p=flip),
            A.ColorJitter(*factors, hue, p=jitter_probability),
        ]
        if blur_sigma is not None:
            _require(0 <= blur_sigma[0] <= blur_sigma[1], f"blur_sigma must be an increasing range, found {blur_sigma}")
            steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=tuple(blur_sigma), p=1.0))
        _require(0 <= grey <= 1, f"grey must lie in 0..1, found {grey}")
        if gamma is not None:
            _require(0 < gamma[0] <= gamma[1], f"gamma must be an increasing range above 0, found {gamma}")
            steps.append(A.RandomGamma(gamma_limit=(100 * gamma[0], 100 * gamma[1]), p=1.0))
        if grey:
            steps.append(A.ToGray(p=grey))
        if noise_sigma is not None:
            _require(0 <= noise_sigma[0] <= noise_sigma[1] <= 1, f"noise_sigma must be an increasing range in 0..1, found {noise_sigma}")
            steps.append(A.GaussNoise(std_range=tuple(noise_sigma), p=1.0))
        self._steps = steps
        self._augment = A.Compose(steps)
        self.to_tensors = EvalTransform(mean, std)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of what comes out, in pixels."""
        return self._steps[0].size

    def with_geometry_of(self, other: "TrainTransform") -> "TrainTransform":
        """The same colours, blur and noise, with scale, crop and flip of another augmentation."""
        new = copy.copy(self)
        new._steps = [*other._steps[:2], *self._steps[2:]]
        new._augment = A.Compose(new._steps)
        return new

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Augment a pair.

        Args:
            image: (H, W, 3) uint8 RGB.
            label: (H, W) uint8 train ids.
            seed: Decides everything random; None for fresh randomness.

        Returns:
            Image (3, crop, crop) float32, normalised, and label (crop, crop) int64, `IGNORE` beside the image.
        """
        return self.to_tensors(*self.augment(image, label, seed))

    def augment(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The augmentation alone: the crop (crop, crop, 3) uint8 RGB, not normalised, and its label (crop, crop) uint8."""
        # One pair of generators for all steps. `set_random_seed` would give every step its own copy of the *same* generator, so that
        # flip and jitter, say, always happened together.
        self._augment.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pair = self._augment(image=image, mask=label)
        return pair["image"], pair["mask"]


class RandomScaleCrop(A.DualTransform):
    """Scale by a uniform factor, pad to the crop size where needed, crop at random: image bicubic, label nearest.

    An image smaller than the crop lies at a random place in it, on black, its surroundings labelled `IGNORE`.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], p: float = 1.0) -> None:
        """Set the crop's (height, width) and the range of the factor."""
        super().__init__(p=p)
        self.size = size
        self.scale = scale

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the factor and the window.

        Returns:
            Per axis (rows first): "source", the interval of the original that is shown, in pixels; "target", the pixels of the crop it
            fills.
        """
        factor = self.py_random.uniform(*self.scale)
        axes = [self._axis(length, crop, factor) for length, crop in zip(params["shape"][:2], self.size, strict=True)]
        return {"source": [source for source, _ in axes], "target": [target for _, target in axes]}

    def _axis(self, length: int, crop: int, factor: float) -> tuple[tuple[float, float], slice]:
        """Draw the window along one axis: an interval of the original and the part of the crop that it fills."""
        scaled = max(1, round(length * factor))
        offset = self.py_random.randint(min(0, scaled - crop), max(0, scaled - crop))
        start, stop = max(0, offset), min(scaled, offset + crop)
        return (start * length / scaled, stop * length / scaled), slice(start - offset, stop - offset)

    def apply(self, img: np.ndarray, source: list[tuple[float, float]], target: list[slice], **params: Any) -> np.ndarray:
        """Show the window of the image, bicubic, smoothed when it shrinks (as Pillow does, and the published code with it)."""
        canvas = np.zeros((*self.size, img.shape[2]), img.dtype)
        return _resize_into(canvas, img, source, target, Image.Resampling.BICUBIC)

    def apply_to_mask(self, mask: np.ndarray, source: list[tuple[float, float]], target: list[slice], **params: Any) -> np.ndarray:
        """Show the same window of the label, nearest neighbour."""
        canvas = np.full(self.size, IGNORE, mask.dtype)
        return _resize_into(canvas, mask, source, target, Image.Resampling.NEAREST)


def _resize_into(
    canvas: np.ndarray, pixels: np.ndarray, source: list[tuple[float, float]], target: list[slice], resampling: Image.Resampling
) -> np.ndarray:
    """Resize the interval `source` of `pixels` into the part `target` of `canvas`.

    Pillow takes the interval with its fractions and reads beyond its edges where the filter reaches, so that the result equals resizing the
    whole and cropping. Only the needed part, with room for the filter, is handed over: that spares the conversion of the rest.
    """
    rows, columns = target
    height, width = rows.stop - rows.start, columns.stop - columns.start
    near = [_reach(interval, out, length) for interval, out, length in zip(source, (height, width), pixels.shape[:2], strict=True)]
    (top, bottom), (left, right) = ((low - part.start, high - part.start) for (low, high), part in zip(source, near, strict=True))
    part = Image.fromarray(np.ascontiguousarray(pixels[near[0], near[1]]))
    canvas[rows, columns] = np.asarray(part.resize((width, height), resampling, box=(left, top, right, bottom)))
    return canvas


def _reach(interval: tuple[float, float], out: int, length: int) -> slice:
    """The pixels that a bicubic resize of `interval` to `out` pixels reads, out of `length`."""
    low, high = interval
    support = 2 * max(1.0, (high - low) / out) + 1
    return slice(max(0, int(low - support)), min(length, int(high + support) + 1))


def _sides(crop_size: Any) -> tuple[int, int]:
    """Height and width of the crop.

    Raises:
        ConfigurationError: It is no size, or one that no machine trains with.
    """
    whole = isinstance(crop_size, int) and not isinstance(crop_size, bool)
    sides = (crop_size, crop_size) if whole else tuple(crop_size) if isinstance(crop_size, Sequence) else ()
    fine = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= _MAX_CROP for side in sides)
    _require(fine, f"crop_size must be one or two whole numbers of pixels, 1..{_MAX_CROP}, found {crop_size!r}")
    return sides[0], sides[1]


def _check_ranges(*settings: Any) -> None:
    """Refuse what is neither a finite number, nor a sequence of these, nor None.

    Raises:
        ConfigurationError: Something is.
    """
    for value in settings:
        parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        fine = all(part is None or (isinstance(part, int | float) and math.isfinite(part)) for part in parts)
        _require(fine and len(parts) in (1, 2, 4), f"expected finite numbers or ranges of two, found {value!r}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(f"Augmentation: {message}.")
