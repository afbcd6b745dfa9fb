"""Corrupted evaluation images, as in Cityscapes-C: the corruptions of ImageNet-C (Hendrycks and Dietterich, ICLR 2019)."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field

from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.installation import install_hint
from pin_memory.utils.validation import validated

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog",
    "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur", "spatter", "saturate",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
"""All corruptions by name; the last four are ImageNet-C's further ones, for validation."""

SETS = {
    "imagenet_c": KINDS[:15],
    "cityscapes_c": tuple(kind for kind in KINDS if kind not in ("zoom_blur", "elastic_transform", "pixelate")),
}
"""The 15 of ImageNet-C, and the 16 that Kamann and Rother (CVPR 2020) laid on Cityscapes."""
_SEEDED = ("impulse_noise", "glass_blur")  # take a seed; the others draw from numpy's global generator
_SMALLEST = 32  # pixels of a side that the package takes


@validated("corruption")
@dataclass(frozen=True)
class Corruption:
    """A kind of corruption with a severity, drawn by the package `imagecorruptions` with the published parameters.

    What is random about it follows from the image's own pixels: the same picture is always corrupted alike, whatever its name, its place in
    the data set and the number of loading processes.

    Attributes:
        kind: One of `KINDS`.
        severity: 1 (weak) to 5.

    Raises:
        ConfigurationError: There is no such corruption or severity, or the package is not installed.
    """

    kind: Kind
    severity: Annotated[int, Field(ge=1, le=5)] = 3

    def __post_init__(self) -> None:
        """Refuse to start without the package."""
        _package()

    @classmethod
    def from_setting(cls, setting: "Corruption | Mapping[str, Any] | None") -> "Corruption | None":
        """The corruption of a setting such as `{kind: fog, severity: 3}`."""
        return cls(**setting) if isinstance(setting, Mapping) else setting

    def __str__(self) -> str:
        """The name in results."""
        return f"{self.kind}@{self.severity}"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Corrupt an image (H, W, 3) uint8 RGB of at least 32 x 32 pixels."""
        if min(image.shape[:2]) < _SMALLEST:
            raise DataError(
                f"corruption {self.kind}: expected an image of at least {_SMALLEST}x{_SMALLEST} pixels, found"
                f" {image.shape[1]}x{image.shape[0]}. Evaluate this data set without corruption."
            )
        seed = zlib.crc32(f"{self}".encode(), zlib.crc32(image.tobytes()))
        options = {"seed": seed} if self.kind in _SEEDED else {}
        state = np.random.get_state()  # noqa: NPY002, what the package draws from
        np.random.seed(seed)  # noqa: NPY002
        try:
            return np.asarray(_package().corrupt(image, severity=self.severity, corruption_name=self.kind, **options))
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _package() -> Any:
    """The package that draws the corruptions; imported where it is used, since it compiles functions."""
    try:
        import imagecorruptions
    except ImportError as error:
        raise ConfigurationError(f"Corruptions need the package imagecorruptions: {install_hint('corruptions')}.") from error
    return imagecorruptions
