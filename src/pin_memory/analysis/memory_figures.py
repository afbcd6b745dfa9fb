"""Figures of the memory: where it answers in an image, how alike its items are, and how they moved."""

from collections.abc import Sequence
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
    columns: int = 4,
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
        columns: Classes side by side.
    """
    if classes is None:
        present, counts = np.unique(truth[truth != IGNORE], return_counts=True)
        classes = present[np.argsort(-counts, kind="stable")][:11].tolist()
    figure, tiles, bar = _bands(-(-(len(classes) + 1) // columns), columns, rgb.shape[0] / rgb.shape[1], title)
    low, high = (float(value) for value in np.percentile(maps[list(classes)], (1, 99.5))) if classes else (0.0, 1.0)
    _show(tiles[0, 0, 0], rgb, "image and ground truth")
    _show(tiles[0, 1, 0], colorize(truth, space))
    for place, number in enumerate(classes, start=1):
        above, below = tiles[place // columns, :, place % columns]
        raw = _show(above, maps[number], space.names[number], cmap=ACTIVATION_MAP, vmin=low, vmax=high)
        own = float(np.median(maps[number])), float(maps[number].max())
        _show(below, blend(rgb, maps[number], *own))
    if classes:
        figure.colorbar(raw, cax=bar, label="cosine similarity (raw maps)")
    else:
        bar.remove()
    return figure


def _bands(bands: int, columns: int, shape: float, title: str) -> tuple["Figure", np.ndarray, "Axes"]:
    """A figure, its axes `(bands, 2, columns)` for pairs of tiles, and those of a colour bar; `shape` is a tile's height over width."""
    gap, caption, head, side, bar = 0.05, 0.24, 0.22 if title else 0.05, 0.72, 0.1
    width = (TWO_COLUMNS - side) / columns - gap
    height = width * shape
    total = head + bands * (caption + 2 * height + 0.02) + gap
    figure = new_figure(TWO_COLUMNS, total)
    figure.set_layout_engine("none")
    if title:
        figure.suptitle(title, fontweight="bold", y=1 - 0.06 / total, va="top")

    def add(left: float, top: float, wide: float, high: float) -> "Axes":
        return figure.add_axes((left / TWO_COLUMNS, 1 - (top + high) / total, wide / TWO_COLUMNS, high / total))

    tiles = np.empty((bands, 2, columns), object)
    for band, row, column in np.ndindex(tiles.shape):
        top = head + band * (caption + 2 * height + 0.02) + caption + row * (height + 0.02)
        axes = tiles[band, row, column] = add(gap + column * (width + gap), top, width, height)
        axes.axis("off")
    long = min(total - head - caption - 0.1, 3.0)
    return figure, tiles, add(TWO_COLUMNS - side + 0.08, head + caption, bar, long)


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
