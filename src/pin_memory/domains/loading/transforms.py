"""Augmentation for training (section "Constants" of the method: scale, crop, flip, jitter, blur).

Geometry is applied to image and label together. The scaled image is never made in full: the crop window is cut out of the original and only
that part is resized, which gives the pixels of scaling first and cropping afterwards at the cost of one crop.
"""

import copy
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field, Strict
from torch import Tensor

from pin_memory.domains.readers.draws import Transform
from pin_memory.utils.images import to_tensors

# Must be set before the import, which otherwise asks a server whether there is a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

from pin_memory.utils.labels import IGNORE
from pin_memory.utils.validation import NotNegative, Positive, Share, increasing, validated

Split = Callable[[Sequence[str], int], tuple[list[str], list[str]]]
"""Names of the meta-train and of the meta-test domains, from all names and the iteration."""

_Side = Annotated[int, Field(gt=0, le=16_384)]  # a slip of the keyboard must not ask for all memory
_Scale = Annotated[float, Field(gt=0, le=100)]
_Hue = Annotated[float, Field(ge=0, le=0.5)]


@validated("augmentation")
class TrainTransform:
    """The published augmentation: random scale and crop, flip, colour jitter, Gaussian blur.

    Everything random about a call follows from its seed.

    Args:
        crop_size: Side of the square crop in pixels, or (height, width).
        scale: Range of the uniform scale factor.
        flip: Probability of a left-right flip.
        color_jitter: Largest change of brightness, contrast, saturation (factor 1 ± x) and hue (turn ± x, at most 0.5).
        jitter_probability: Probability of the colour jitter.
        blur_sigma: Range of the standard deviation of the Gaussian blur in pixels; None for no blur.
        gamma: Range of an exponent on the brightness in 0..1: above 1 makes pictures darker, below 1 lighter; None for none.
        grey: Probability of a picture without colours.
        noise_sigma: Range of the standard deviation of Gaussian noise, as a share of the brightness range; None for none.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    def __init__(
        self,
        crop_size: _Side | Annotated[tuple[_Side, _Side], Strict(False)] = 768,
        scale: Annotated[tuple[_Scale, _Scale], Strict(False), AfterValidator(increasing)] = (0.5, 2.0),
        flip: Share = 0.5,
        color_jitter: Annotated[tuple[NotNegative, NotNegative, NotNegative, _Hue], Strict(False)] = (0.4, 0.4, 0.4, 0.1),
        jitter_probability: Share = 0.5,
        blur_sigma: Annotated[tuple[NotNegative, NotNegative], Strict(False), AfterValidator(increasing)] | None = (0.15, 1.3),
        gamma: Annotated[tuple[Positive, Positive], Strict(False), AfterValidator(increasing)] | None = None,
        grey: Share = 0.0,
        noise_sigma: Annotated[tuple[Share, Share], Strict(False), AfterValidator(increasing)] | None = None,
    ) -> None:
        size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        factors = [(max(0.0, 1 - change), 1 + change) for change in color_jitter[:3]]
        steps: list[Any] = [
            RandomScaleCrop(size, scale),
            A.HorizontalFlip(p=flip),
            A.ColorJitter(*factors, (-color_jitter[3], color_jitter[3]), p=jitter_probability),
        ]
        if blur_sigma is not None:
            steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=blur_sigma, p=1.0))
        if gamma is not None:
            steps.append(A.RandomGamma(gamma_limit=(100 * gamma[0], 100 * gamma[1]), p=1.0))
        if grey:
            steps.append(A.ToGray(p=grey))
        if noise_sigma is not None:
            steps.append(A.GaussNoise(std_range=noise_sigma, p=1.0))
        self._steps = steps
        self._augment = A.Compose(steps)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of what comes out, in pixels."""
        return self._steps[0].size

    @property
    def scale(self) -> tuple[float, float]:
        """The range of the scale factor."""
        return self._steps[0].scale

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
            Image (3, crop, crop) uint8 RGB, and label (crop, crop) int64, `IGNORE` outside the image.
        """
        return to_tensors(*self.augment(image, label, seed))

    def augment(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The augmentation alone: the crop (crop, crop, 3) uint8 RGB and its label (crop, crop) uint8."""
        # One pair of generators for all steps. `set_random_seed` would give every step its own copy of the *same* generator, so that
        # flip and jitter, say, always happened together.
        self._augment.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pair = self._augment(image=image, mask=label)
        return pair["image"], pair["mask"]


@dataclass(frozen=True)
class MetaTestAugmentation:
    """The augmentation of a source domain, which depends on the side of the split that the domain is on: harder views to meta-test.

    The released code meant this, but always gives the harder views to the first listed domain. A split is a function of the iteration,
    and so is a training draw, so the side is known where the image is read, in any number of loading processes.

    Attributes:
        meta_train: For iterations in which the domain is on the meta-train side.
        meta_test: For the others.
        split: That of the method.
        domains: Names of all sources, in the order that the method sees.
        name: The domain's own.
    """

    meta_train: Transform
    meta_test: Transform
    split: Split
    domains: tuple[str, ...]
    name: str

    def at(self, iteration: int) -> Transform:
        """The augmentation in an iteration, counted from 0."""
        return self.meta_test if self.name in self.split(self.domains, iteration)[1] else self.meta_train

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Augment a pair outside of any iteration, as on the meta-train side."""
        return self.meta_train(image, label, seed)


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
        """Draw the factor and the window: by axis, the interval of the original that is shown, and the pixels of the crop it fills."""
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
