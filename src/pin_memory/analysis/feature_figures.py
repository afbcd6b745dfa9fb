"""Figures of class features: where they lie, and how far domains are apart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pin_memory.analysis.distances import DomainDistances
from pin_memory.analysis.features import MEMORY_ITEM, TEXT, VISUAL_TEXT, FeaturePoints
from pin_memory.analysis.style import MARKERS, OKABE_ITO, TWO_COLUMNS, class_axis, colours, heat_map, new_figure, styled
from pin_memory.utils.labels import CITYSCAPES, LabelSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGE = {MEMORY_ITEM: ("*", 95, "memory item"), TEXT: ("*", 95, "text"), VISUAL_TEXT: ("P", 45, "visual text")}
"""Shape, size and name of the points that belong to no domain."""


@styled
def plot_tsne(panels: Mapping[str, tuple[FeaturePoints, np.ndarray]], space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw layouts of class features side by side: colour = class, shape = domain, large = memory item or prototype.

    Args:
        panels: Points and their places `(P, 2)` by caption.
        space: Names and colours of the classes.
        title: Above everything.
    """
    classes = sorted({int(k) for points, _ in panels.values() for k in points.classes})
    figure = new_figure(TWO_COLUMNS if len(panels) > 1 else 0.6 * TWO_COLUMNS, 4.3, title)
    for axes, (caption, (points, places)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.set_title(caption)
        axes.set(xticks=[], yticks=[])
        axes.margins(0.04)
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color("#bbbbbb")
        _scatter(axes, points, places, space)
    _legend(figure, next(iter(panels.values()))[0], classes, space, 7 if len(panels) > 1 else 4)
    return figure


def _scatter(axes: "Axes", points: FeaturePoints, places: np.ndarray, space: LabelSpace) -> None:
    """The points of each domain, then the large ones."""
    shade = colours(space.palette)[points.classes]
    for number in range(len(points.names)):
        own = points.domains == number
        marker = MARKERS[number % len(MARKERS)]
        axes.scatter(places[own, 0], places[own, 1], c=shade[own], marker=marker, s=11, alpha=0.85, edgecolors="white", linewidths=0.2)
    for kind, (marker, size, _) in _LARGE.items():
        if (own := points.domains == kind).any():
            axes.scatter(places[own, 0], places[own, 1], c=shade[own], marker=marker, s=size, edgecolors="black", linewidths=0.6, zorder=3)


def _legend(figure: "Figure", points: FeaturePoints, classes: Sequence[int], space: LabelSpace, most: int) -> None:
    """Classes by colour, then domains, memory items and prototypes by shape, below the panels in at most so many columns."""
    from matplotlib.lines import Line2D

    def entry(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **look)

    palette = colours(space.palette)
    entries = [entry(space.names[k], marker="o", color=palette[k], markersize=5.5) for k in classes]
    shapes = [entry(name, marker=MARKERS[n % len(MARKERS)], color="#555555", markersize=4.5) for n, name in enumerate(points.names)]
    for kind, (marker, size, name) in _LARGE.items():
        if (points.domains == kind).any():
            shapes.append(entry(name, marker=marker, color="white", markeredgecolor="black", markersize=size**0.5 * 0.92))
    columns = min(most, max(len(entries), len(shapes)))
    for part in (entries, shapes):
        part += [entry("", alpha=0) for _ in range(-len(part) % columns)]
    rows = [*entries, *shapes]
    by_column = [rows[place] for column in range(columns) for place in range(column, len(rows), columns)]  # it fills column by column
    figure.legend(handles=by_column, loc="outside lower center", ncols=columns, handletextpad=0.2, columnspacing=1.2, labelspacing=0.35)


@styled
def plot_domain_distances(distances: Mapping[str, DomainDistances], space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw the distance between domains class by class, its ratio to the distance between classes, and the domains pair by pair.

    Args:
        distances: By caption, such as "before reading" and "after reading".
        space: Names and colours of the classes.
        title: Above everything.
    """
    known = np.any([np.isfinite(found.between_domains) for found in distances.values()], axis=0)
    names = [name for name, shown in zip(space.names, known, strict=True) if shown]
    figure = new_figure(TWO_COLUMNS, 1.1 + 0.19 * len(names), title)
    left, right = figure.subplots(1, 2, sharey=True)
    class_axis(left, names, space.palette[known])
    for axes in (left, right):
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
    rows = np.arange(len(names))
    # The first is hollow, so that it does not hide the second.
    looks = zip(OKABE_ITO[1::-1] + OKABE_ITO[2:], "os^Dv", ("none", *OKABE_ITO), strict=False)
    for (colour, marker, inside), (caption, found) in zip(looks, distances.items(), strict=False):
        look = {"marker": marker, "linestyle": "none", "color": colour, "markerfacecolor": inside, "markersize": 4.5}
        overall = found.overall()
        words = f"{caption}: mean {overall['between_domains']:.3f}, ratio of the means {overall['ratio']:.3f}"
        left.plot(found.between_domains[known], rows, label=words, **look)
        words = f"by chance of the images alone: mean {overall['noise']:.3f}"
        left.plot(found.noise[known], rows, "|", color=colour, markersize=7, markeredgewidth=1.1, label=words)
        right.plot(found.ratio[known], rows, **look)
    left.set(xlabel="cosine distance of a class between domains", xlim=(0, None))
    right.set(xlabel="its ratio to the distance from other classes", xlim=(0, None))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.5)
    right.tick_params(left=False)
    return figure


@styled
def plot_domain_pairs(distances: Mapping[str, DomainDistances], title: str = "") -> "Figure":
    """Draw the mean distance of a class between each two domains as heat maps.

    Args:
        distances: By caption.
        title: Above everything.
    """
    number = len(next(iter(distances.values())).domains)
    side = max(2.4, 0.38 * number)
    figure = new_figure(min(TWO_COLUMNS, 1.2 + side * len(distances)), side + 0.9, title)
    others = ~np.eye(number, dtype=bool)
    values = np.concatenate([found.pairs[others] for found in distances.values()])
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if np.isfinite(values).any() else (0.0, 1.0)
    row = figure.subplots(1, len(distances), squeeze=False, sharey=True)[0]
    for axes, (caption, found) in zip(row, distances.items(), strict=True):
        image = heat_map(axes, np.where(others, found.pairs, np.nan), low, high, "{:.2f}".format, 6)
        axes.set_title(caption)
        class_axis(axes, found.domains, side="x")
        axes.tick_params(left=False)
    class_axis(row[0], next(iter(distances.values())).domains)
    figure.colorbar(image, ax=row.tolist(), shrink=0.8, label="cosine distance, mean over the classes")
    return figure
