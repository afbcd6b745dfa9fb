"""Figures of the memory: where it answers in an image, how alike its items are, and how they moved."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pin_memory.analysis.memory import MemoryDrift
from pin_memory.analysis.style import SEQUENTIAL, TWO_COLUMNS, UNKNOWN, class_axis, class_matrix, new_figure, styled
from pin_memory.utils.labels import CITYSCAPES, IGNORE, LabelSpace
from pin_memory.utils.pictures import colorize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

ACTIVATION_MAP = "inferno"
_COLUMNS, _BAR = 4, 0.72  # of tiles; inches that the colour bar takes
_STILL = 1e-3
"""Degrees between two records below which an item has only been rounded anew."""


def blend(rgb: np.ndarray, activation: np.ndarray, low: float, high: float, strength: float = 0.75) -> np.ndarray:
    """Lay an activation map over a picture: dark and grey where the activation is low, bright in the map's colours where it is high.

    Args:
        rgb: `(H, W, 3)` uint8.
        activation: `(H, W)`.
        low: Value at which nothing of the map is seen.
        high: Value at which most is seen.
        strength: Opacity of the colours there, 0..1.

    Returns:
        `(H, W, 3)` uint8.
    """
    from matplotlib import colormaps

    share = ((activation - low) / max(high - low, 1e-12)).clip(0, 1)[..., None]
    grey = 0.65 * rgb.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colour = 255 * colormaps[ACTIVATION_MAP](share[..., 0])[..., :3]
    return (grey + strength * share * (colour - grey)).round().astype(np.uint8)


@styled
def plot_activation_maps(
    rgb: np.ndarray,
    maps: np.ndarray,
    truth: np.ndarray,
    space: LabelSpace = CITYSCAPES,
    classes: Sequence[int] | None = None,
    title: str = "",
    measure: str = "cosine similarity",
) -> "Figure":
    """Draw an image with its ground truth, then for each class the activation map, raw and blended over the image.

    All raw maps share one scale, so classes can be compared; blended maps have one of their own each, from the map's median to its
    maximum, so that they show where rather than how much.

    Args:
        rgb: Image `(H, W, 3)` uint8.
        maps: `(K, H, W)` similarities (`activation_maps`).
        truth: Train ids `(H, W)`.
        space: Names and colours of the classes.
        classes: Train ids to show; by default those with ground truth, the largest first, at most 11.
        title: Above everything.
        measure: What the maps are.
    """
    if classes is None:
        present, counts = np.unique(truth[truth != IGNORE], return_counts=True)
        classes = present[np.argsort(-counts, kind="stable")][:11].tolist()
    bands = -(-(len(classes) + 1) // _COLUMNS)  # of a row of maps and one of blends
    height = (TWO_COLUMNS - _BAR) / _COLUMNS * rgb.shape[0] / rgb.shape[1]
    figure = new_figure(TWO_COLUMNS, bands * (2 * height + 0.22) + 0.27 * bool(title), title)
    figure.set_layout_engine("compressed", w_pad=0.025, h_pad=0.015, wspace=0, hspace=0)
    tiles = figure.subplots(2 * bands, _COLUMNS, squeeze=False, subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
    low, high = (float(value) for value in np.percentile(maps[list(classes)], (1, 99.5))) if classes else (0.0, 1.0)
    _show(tiles[0, 0], rgb, "image and ground truth")
    _show(tiles[1, 0], colorize(truth, space))
    for place, number in enumerate(classes, start=1):
        row, column = 2 * (place // _COLUMNS), place % _COLUMNS
        raw = _show(tiles[row, column], maps[number], space.names[number], cmap=ACTIVATION_MAP, vmin=low, vmax=high)
        _show(tiles[row + 1, column], blend(rgb, maps[number], float(np.median(maps[number])), float(maps[number].max())))
    if classes:
        figure.colorbar(raw, ax=tiles[: 2 * min(bands, 2)].ravel().tolist(), label=f"{measure} (raw maps)", pad=0.02, aspect=30)
    return figure


def _show(axes: "Axes", picture: np.ndarray, caption: str = "", **look: Any) -> "AxesImage":
    """A picture in a tile."""
    if caption:
        axes.set_title(caption, pad=2)
    return axes.imshow(picture, interpolation="bilinear", **look)


@styled
def plot_memory_similarity(matrix: np.ndarray, space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw how alike the memory items of each two classes are.

    Args:
        matrix: `(K, K)` (`memory_similarity`).
        space: Names and colours of the classes.
        title: Above everything.
    """
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    low = min(0.0, float(np.nanmin(others))) if np.isfinite(others).any() else 0.0
    return class_matrix(matrix, space, title, low, 1.0, "cosine similarity", lambda value: f"{value:.2f}".replace("0.", ".", 1))[0]


@styled
def plot_class_structure(panels: Mapping[str, np.ndarray], space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw side by side how the classes lie to each other in text and in the memory, on one scale; the diagonal, always 1, is left out.

    Args:
        panels: Matrices `(K, K)` by what is written above them (`class_structure`).
        space: Names and colours of the classes.
        title: Above everything.
    """
    figure = new_figure(1.6 + 0.14 * len(panels) * len(space), 1.3 + 0.14 * len(space), title)
    others = {caption: np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix) for caption, matrix in panels.items()}
    values = np.concatenate([matrix[np.isfinite(matrix)] for matrix in others.values()])
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    tiles = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (caption, matrix) in zip(tiles, others.items(), strict=True):
        image = axes.imshow(matrix, cmap=SEQUENTIAL, vmin=low, vmax=high)
        axes.set_facecolor(UNKNOWN)
        axes.spines[:].set_visible(False)
        axes.set_title(caption)
        class_axis(axes, space.names, side="x")
    class_axis(tiles[0], space.names, space.palette)
    tiles[-1].tick_params(left=False)
    figure.colorbar(image, ax=list(tiles), shrink=0.7, pad=0.02, aspect=30, label="cosine similarity, class-centred")
    return figure


@styled
def plot_memory_drift(drift: MemoryDrift, space: LabelSpace = CITYSCAPES, chosen: int | None = None, title: str = "") -> "Figure":
    """Draw how near each item was to its last state, and how fast it turned, over the training; grey where it was not written.

    Args:
        drift: From `memory_drift`.
        space: Names and colours of the classes.
        chosen: Iteration of the analysed checkpoint, which a line marks; none by default.
        title: Above everything.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator

    figure = new_figure(TWO_COLUMNS, 1.0 + 0.165 * len(space), title)
    left, right = figure.subplots(1, 2, sharey=True)
    middles = (drift.steps[1:] + drift.steps[:-1]) / 2
    edges = np.concatenate([drift.steps[:1], middles, drift.steps[-1:]])
    rows = np.arange(len(space) + 1) - 0.5
    near = left.pcolormesh(edges, rows, drift.to_final.T, cmap=SEQUENTIAL, vmax=1, rasterized=True)
    angles = drift.change * np.diff(drift.steps)[:, None]
    moves = np.ma.masked_where(~(angles > _STILL), drift.change)
    low, high = np.percentile(moves.compressed(), (2, 98)) if moves.count() else (0.1, 1.0)
    scale = LogNorm(low, max(high, low * 1.01), clip=True)
    turn = right.pcolormesh(drift.steps, rows, moves.T, cmap=SEQUENTIAL, norm=scale, rasterized=True)
    class_axis(left, space.names, space.palette)
    few: dict[str, Any] = {"ticks": LogLocator(subs=(1, 2, 5)), "format": "%g"}
    for axes, mesh, caption, label, ticks in (
        (left, near, "nearness to the last item", "cosine similarity", {}),
        (right, turn, "speed of change", "degrees per iteration", few),
    ):
        axes.set_title(caption, pad=12)  # above the word at the checkpoint's line
        axes.set_xlabel("iteration")
        axes.set_facecolor(UNKNOWN)
        figure.colorbar(mesh, ax=axes, location="right", label=label, pad=0.02, aspect=30, **ticks).minorticks_off()
        if chosen is not None and drift.steps[0] <= chosen <= drift.steps[-1]:
            axes.axvline(chosen, color="white", linestyle="--", linewidth=1.0)
            axes.annotate("checkpoint", (chosen, -0.5), (0, 1), textcoords="offset points", ha="center", va="bottom", fontsize=5.5)
    right.tick_params(left=False)
    return figure
