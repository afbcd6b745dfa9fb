"""Evaluation views: at which size images are evaluated, by name, since scores of different views cannot be compared."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from pin_memory.domains.loading.corruptions import Corruption
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import to_tensors
from pin_memory.utils.labels import IGNORE

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class View:
    """How a pair is shown to the network, and at which size the prediction is evaluated.

    Attributes:
        name: As in the configuration.
        image_scale: Size of the image over the native one, or in words.
        label_scale: Size of the label over the native one, or in words. Where it differs from the image's, logits are resized to it.
        apply: Maps an image (H, W, 3) uint8 RGB and its label (H, W) uint8.
    """

    name: str
    image_scale: float | str
    label_scale: float | str
    apply: Callable[[np.ndarray, np.ndarray], Pair]


class ViewTransform:
    """Corrupt the image, where that is asked for, show the pair through a view and turn it into tensors."""

    def __init__(self, view: str, corruption: Corruption | None = None) -> None:
        self.view, self.corruption = find_view(view).name, corruption

    def __call__(self, image: np.ndarray, label: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Map (H, W, 3) uint8 RGB and (H, W) uint8 train ids to (3, h, w) uint8 and (h', w') int64; the same pair always to the same."""
        image = image if self.corruption is None else self.corruption(image)
        return to_tensors(*VIEWS[self.view].apply(image, label))


def find_view(name: str) -> View:
    """Return the view of a name; an unknown one is a ConfigurationError."""
    if name not in VIEWS:
        raise ConfigurationError(f"view={name}: there is no such evaluation view; choose one of {', '.join(VIEWS)}.")
    return VIEWS[name]


def _native(image: np.ndarray, label: np.ndarray) -> Pair:
    return image, label


def _half(image: np.ndarray, label: np.ndarray) -> Pair:
    height, width = (max(1, round(side / 2)) for side in label.shape)
    return resized(image, height, width), resized(label, height, width, Image.Resampling.NEAREST)


def _half_image(image: np.ndarray, label: np.ndarray) -> Pair:
    return _half(image, label)[0], label


def _centre_1536(image: np.ndarray, label: np.ndarray) -> Pair:
    """Resize to 1536 rows and cut out the middle 1536 columns; a narrower picture lies in the middle, its sides not evaluated."""
    side, (height, width) = 1536, label.shape
    columns = max(1, round(width * side / height))
    image, label = resized(image, side, columns), resized(label, side, columns, Image.Resampling.NEAREST)
    if columns >= side:
        left = round((columns - side) / 2)
        return image[:, left : left + side], label[:, left : left + side]
    left = (side - columns) // 2
    sides = ((0, 0), (left, side - columns - left))
    return np.pad(image, (*sides, (0, 0))), np.pad(label, sides, constant_values=IGNORE)


def resized(pixels: np.ndarray, height: int, width: int, filtering: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Resize an image (H, W, 3), or with `NEAREST` a label (H, W), of bytes to (height, width)."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), filtering))


_MIDDLE = "1536 rows, middle 1536 columns"

VIEWS = {
    view.name: view
    for view in (
        View("native", 1.0, 1.0, _native),
        View("half", 0.5, 0.5, _half),
        View("half_image", 0.5, 1.0, _half_image),
        View("centre_1536", _MIDDLE, _MIDDLE, _centre_1536),
    )
}
"""All views by name: native size; image and label halved; image halved and logits resized to the native label; and Mapillary's view of the
published line of work, at which the label is resized, too."""
