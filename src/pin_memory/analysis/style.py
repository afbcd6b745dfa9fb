"""How figures look: sizes of a paper's columns, readable type, colours that colour-blind readers can tell apart, and how they are kept."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from pin_memory.utils.choices import CHOICES
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.installation import install_hint
from pin_memory.utils.labels import LabelSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

P = ParamSpec("P")
R = TypeVar("R")

TWO_COLUMNS = 7.0
"""Width of a figure in inches, over both columns of a paper."""
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours where they are free (Okabe & Ito, 2008); the first for what is more or after, the second for what is less or before."""
SEQUENTIAL = "viridis"
"""Colour map where the order is from little to much."""
UNKNOWN = "#d9d9d9"
"""Colour of what has no value."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p")
"""Shapes of the domains in scatter plots."""
FORMATS = CHOICES["analyze"]["formats"]
"""Kinds of files a figure is kept as."""
DOTS_PER_INCH = 220

_SETTINGS: Any = {
    "font.size": 7.5, "axes.titlesize": 8.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "figure.titlesize": 9.5, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "image.interpolation": "nearest", "savefig.dpi": DOTS_PER_INCH,
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.fonttype": "none",
    "svg.hashsalt": "pin_memory",  # the same figure is the same file
}  # fmt: skip


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in this style and leave the caller's own settings as they are."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            from matplotlib import rc_context
        except ImportError as error:
            raise ConfigurationError(f"Figures need matplotlib: {install_hint('analysis')}.") from error
        with rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, title: str = "") -> "Figure":
    """An empty figure of a size in inches that no global state knows of, so nothing has to be closed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontweight="bold")
    return figure


@styled
def save_figure(figure: "Figure", path: str | Path, formats: Iterable[str] = ("png", "pdf")) -> list[Path]:
    """Write a figure, each file completely or not at all; the same figure makes the same bytes.

    Args:
        figure: What a plot function of this room returned.
        path: The files to write, without suffix.
        formats: Of `FORMATS`.

    Returns:
        The files.

    Raises:
        OutputError: A file cannot be written.
    """
    written = []
    for form in formats:
        file = Path(f"{path}.{form}")
        undated = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
        with report_write_errors(file, "the figure "), atomic_write(file) as temporary:
            figure.savefig(temporary, format=form, metadata=undated)
        written.append(file)
    return written


def colours(palette: np.ndarray) -> np.ndarray:
    """A label space's palette (K, 3) uint8 as matplotlib takes it, (K, 3) float in 0..1."""
    return np.asarray(palette) / 255


def class_axis(axes: "Axes", names: Iterable[str], palette: np.ndarray | None = None, side: str = "y") -> None:
    """Put the names of the classes along an axis, one at each integer from 0; a vertical one shows their colours, too."""
    from matplotlib.transforms import ScaledTranslation

    names = list(names)
    axis: Any = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(range(len(names)), names, **({"rotation": 90} if side == "x" else {}))
    axis.set_tick_params(length=0, pad=10 if palette is not None and side == "y" else 3)
    if side == "y":
        axes.set_ylim(len(names) - 0.5, -0.5)
        if palette is not None:
            places = axes.get_yaxis_transform() + ScaledTranslation(-6 / 72, 0, axes.figure.dpi_scale_trans)  # next to the left edge
            patches: dict[str, Any] = {"marker": "s", "s": 26, "clip_on": False, "transform": places, "zorder": 4}
            axes.scatter(np.zeros(len(names)), range(len(names)), c=colours(palette), **patches)


def heat_map(axes: "Axes", matrix: np.ndarray, low: float, high: float, show: Callable[[float], str], size: float) -> "AxesImage":
    """Draw a matrix with a number in every cell as `show` writes it, in letters of a size; grey where there is none."""
    image = axes.imshow(matrix, cmap=SEQUENTIAL, vmin=low, vmax=high)
    axes.set_facecolor(UNKNOWN)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            bright = (value - low) / max(high - low, 1e-12) > 0.6
            axes.text(column, row, show(value), ha="center", va="center", fontsize=size, color="black" if bright else "white")
    return image


def class_matrix(
    matrix: np.ndarray, space: LabelSpace, title: str, low: float, high: float, label: str, show: Callable[[float], str]
) -> tuple["Figure", "Axes"]:
    """A figure of a matrix `(K, K)` of classes, with a colour bar."""
    size = 1.6 + 0.245 * len(space)
    figure = new_figure(size + 0.4, size, title)
    axes = figure.subplots()
    image = heat_map(axes, matrix, low, high, show, 5.2)
    class_axis(axes, space.names, side="x")
    class_axis(axes, space.names, space.palette)
    figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, aspect=30, label=label)
    return figure, axes
