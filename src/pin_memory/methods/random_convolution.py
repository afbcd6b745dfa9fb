"""Random convolutions: images through small random filters, once or several times (after RandConv and Pro-RandConv)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pin_memory.memory.operations import at_least_float32
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, NotNegative, Share, validated

_LEAST = 1e-3  # of the widths of a smoothing
_DAMPING = 1e-5  # of variances


@validated("method.randomisation")
class RandomConvolution:
    """Changes textures and colours of images by filters of chance, which keep shapes larger than themselves; labels stay as they are.

    Each image has weights `w ~ N(0, 1 / 3k²)` of its own from all three colours to all three. As in Pro-RandConv (Choi et al., CVPR 2023)
    one block, the filter, `γ (x - μ) / σ + β` with γ, β ~ N(0, contrast²) and tanh, is repeated L ~ U{1..repeats} times with the same
    numbers; its deformable offsets are left out. `kernel=[1, 3, 5, 7]` `repeats=1` without the rest is RandConv (Xu et al., ICLR 2021).

    Args:
        kernel: k, an odd number of pixels, or several of which each step draws one.
        repeats: Largest L.
        smoothing: Multiply the weights by a Gaussian of the distance to the middle, of a width between 0 and 1 pixels.
        affine: Standardise each channel of an image, then scale and shift it by γ and β.
        tanh: Squash what each repetition gives.
        contrast: Standard deviation of γ and β.
        probability: With which an image is changed.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    def __init__(
        self,
        kernel: int | Sequence[int] = 3,
        repeats: Count = 10,
        smoothing: bool = True,
        affine: bool = True,
        tanh: bool = True,
        contrast: NotNegative = 0.5,
        probability: Share = 0.5,
    ) -> None:
        self.kernels = [kernel] if isinstance(kernel, int) else list(kernel)
        if not self.kernels or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise ConfigurationError(f"method.randomisation.kernel={kernel}: expected an odd number of pixels, or a list of them.")
        self.repeats, self.smoothing, self.affine, self.tanh = repeats, smoothing, affine, tanh
        self.contrast, self.probability = contrast, probability

    def __call__(self, images: Tensor, domains: Sequence[str]) -> Tensor:
        """Other textures for normalised images `(B, 3, H, W)`; drawn from torch's generators."""
        own = at_least_float32(images)
        made: dict[str, Any] = {"device": own.device, "dtype": own.dtype}
        number, side = len(own), self.kernels[_integer(len(self.kernels))]
        weights = torch.randn(number, 3, 3, side, side, **made) / (3 * side * side) ** 0.5
        if self.smoothing:
            width = _LEAST + (1 - _LEAST) * torch.rand(number, 1, 1, 1, 1, **made)
            weights = weights * torch.exp(-squared_distances(side, **made) / (2 * width**2))
        affine = self.contrast * torch.randn(2, number, 3, 1, 1, **made) if self.affine else None
        changed = own
        for _ in range(1 + _integer(self.repeats)):
            changed = random_block(changed, weights, affine, self.tanh)
        chosen = torch.rand(number, 1, 1, 1, **made) < self.probability
        return torch.where(chosen, changed, own).to(images.dtype)


def random_block(images: Tensor, weights: Tensor, affine: Tensor | None, tanh: bool) -> Tensor:
    """Each image `(B, 3, H, W)` through its filter `(B, 3, 3, k, k)`, then by scale and shift `(2, B, 3, 1, 1)`; zeros surround it."""
    number, _, height, width = images.shape
    filters = weights.flatten(0, 1)  # of all images next to each other
    found = F.conv2d(images.reshape(1, -1, height, width), filters, padding=weights.shape[-1] // 2, groups=number).view_as(images)
    if affine is not None:
        variance, mean = torch.var_mean(found, dim=(2, 3), correction=0, keepdim=True)
        found = affine[0] * (found - mean) * torch.rsqrt(variance + _DAMPING) + affine[1]
    return found.tanh() if tanh else found


def squared_distances(side: int, **made: Any) -> Tensor:
    """Of each pixel of a filter from its middle, `(k, k)`."""
    places = torch.arange(side, **made) - side // 2
    return places[:, None] ** 2 + places[None, :] ** 2


def _integer(end: int) -> int:
    """One of 0 .. end - 1, from the generator of the host."""
    return int(torch.randint(end, (), device="cpu"))
