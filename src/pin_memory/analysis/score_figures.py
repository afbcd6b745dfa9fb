"""Figures of scores: what is confused with what, and what one run gains over another."""

from typing import TYPE_CHECKING

import numpy as np

from pin_memory.analysis.memory_figures import heat_map
from pin_memory.analysis.scores import ClassGain, row_shares
from pin_memory.analysis.style import OKABE_ITO, TWO_COLUMNS, class_axis, new_figure, styled
from pin_memory.utils.labels import CITYSCAPES, LabelSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MORE, _LESS = OKABE_ITO[:2]


@styled
def plot_confusion(confusion: np.ndarray, space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw a confusion matrix in percent of the pixels of each true class; classes without ground truth are grey.

    Args:
        confusion: Pixels `(K, K)`, rows are the ground truth.
        space: Names and colours of the classes.
        title: Above everything.
    """
    size = 1.6 + 0.245 * len(space)
    figure = new_figure(size + 0.4, size, title)
    axes = figure.subplots()
    heat_map(axes, 100 * row_shares(confusion), space, 0, 100, "pixels of the true class in %", "{:.0f}")
    axes.set(xlabel="predicted", ylabel="truth")
    return figure


@styled
def plot_gain(gain: ClassGain, title: str = "", space: LabelSpace = CITYSCAPES) -> "Figure":
    """Draw the gain of each class, in a panel for each target and one for their mean; the largest mean gain on top.

    Args:
        gain: From `class_gain`.
        title: Above everything.
        space: Colours of the classes.
    """
    known = np.isfinite(gain.points).any(axis=0)
    mean = np.nanmean(gain.points[:, known], axis=0)
    order = np.flatnonzero(known)[np.argsort(-mean, kind="stable")]
    panels = {name: (gain.points[row, order], gain.miou[row]) for row, name in enumerate(gain.targets)}
    if len(gain.targets) > 1:
        panels["mean of the targets"] = (np.sort(mean)[::-1], gain.miou.mean())
    figure = new_figure(max(4.2, min(TWO_COLUMNS, 1.9 * len(panels))), 1.0 + 0.17 * len(order), title)
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=True)[0]
    largest = max(1.0, float(np.nanmax(np.abs(gain.points))))
    for axes, (name, (points, miou)) in zip(row, panels.items(), strict=True):
        values = np.nan_to_num(points)
        axes.barh(range(len(order)), values, color=[_MORE if value > 0 else _LESS for value in values], height=0.7)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_title(f"{name}\nmIoU {miou:+.1f}")
        axes.set_xlim(-1.45 * largest, 1.45 * largest)
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        for place, value in enumerate(points):
            text, right = ("-", True) if np.isnan(value) else (f"{round(value, 1) + 0.0:+.1f}", value >= 0)
            offset = (2 if right else -2, 0)
            axes.annotate(text, (0 if np.isnan(value) else value, place), offset, textcoords="offset points", va="center",
                          ha="left" if right else "right", fontsize=5.5)  # fmt: skip
    class_axis(row[0], [gain.classes[k] for k in order], space.palette[order])
    figure.supxlabel("gain of IoU in percentage points", fontsize=7.5)
    return figure
