"""Figures of the alignment with text."""

from typing import TYPE_CHECKING

import numpy as np

from pin_memory.analysis.style import SEQUENTIAL, TWO_COLUMNS, UNKNOWN, colours, new_figure, styled
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_reliability(
    image: np.ndarray, truth: np.ndarray, reliability: np.ndarray, space: LabelSpace = CITYSCAPES, title: str = ""
) -> "Figure":
    """Draw an image, its labels, and how reliable they are.

    Args:
        image: `(H, W, 3)` uint8.
        truth: Labels `(H, W)`.
        reliability: `(H, W)` in 0..1; grey where it is NaN.
        space: Names and colours of the classes.
        title: Above everything.
    """
    height = TWO_COLUMNS / 3 * image.shape[0] / image.shape[1]
    figure = new_figure(TWO_COLUMNS, height + 0.75, title)
    tiles = figure.subplots(1, 3)
    shades = np.full((*truth.shape, 3), 0.85)
    known = truth != IGNORE
    shades[known] = colours(space.palette)[truth[known]]
    for axes, caption, picture in zip(tiles, ("image", "label", "reliability of the label"), (image, shades, None), strict=True):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(caption, pad=2)
        if picture is not None:
            axes.imshow(picture)
    tiles[2].set_facecolor(UNKNOWN)
    shown = tiles[2].imshow(reliability, cmap=SEQUENTIAL, vmin=0)  # up to the largest: the temperature keeps all far below 1
    chance = f"soft-max of its class (by chance {1 / len(space):.3f})"
    figure.colorbar(shown, ax=tiles.tolist(), location="bottom", shrink=0.4, pad=0.02, aspect=40, label=chance)
    return figure
