"""What is confused with what, and what one run gains over another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pin_memory.analysis.style import OKABE_ITO, TWO_COLUMNS, class_axis, class_matrix, new_figure, styled
from pin_memory.evaluation.compared_runs import refuse_mixture
from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.results import Results, TargetScores
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import CITYSCAPES, LabelSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MORE, _LESS = OKABE_ITO[:2]
_CONDITIONS = ("protocol", "statistics")
"""What may differ between two results, and is then named."""


@dataclass(frozen=True)
class ClassGain:
    """Differences of IoU in percentage points, run minus baseline; NaN where a class has no ground truth."""

    targets: tuple[str, ...]  # names of the T targets that both runs were evaluated on
    classes: tuple[str, ...]  # names of the K classes
    points: np.ndarray  # (T, K)
    miou: np.ndarray  # (T,) of the mIoU
    differing: dict[str, tuple[str, str]]  # how the runs were evaluated where it differs: {"protocol": ("sliding_768@1", "whole@1")}


@torch.inference_mode()
def confusion_matrix(
    network: MemorySegmenter, batches: Iterable[Mapping[str, Any]], protocol: Protocol = WHOLE, statistics: BatchNormStatistics = RUNNING
) -> np.ndarray:
    """Count what is predicted for what on labelled images.

    Args:
        network: The trained network, on its device.
        batches: As `class_features` takes them.
        protocol: How the network is applied.
        statistics: What batch norm normalises by.

    Returns:
        Pixels `(K, K)` int64; rows are the ground truth.
    """
    device = next(network.parameters()).device
    counts = DomainConfusion(network.num_classes).to(device)
    with evaluation_mode(network):
        for batch in batches:
            label = batch["label"].to(device)
            counts.update(protocol.predict(network, batch["image"].to(device), (label.shape[-2], label.shape[-1]), statistics), label)
    return counts.compute().cpu().numpy()


def row_shares(confusion: np.ndarray) -> np.ndarray:
    """Shares `(K, K)` of the predicted classes in the pixels of each class, rows sum to 1; NaN in rows without ground truth."""
    totals = confusion.sum(axis=1, keepdims=True)
    return confusion / np.where(totals > 0, totals, np.nan)


def class_gain(results: Results, baseline: Results) -> ClassGain:
    """Compare two runs class by class.

    Args:
        results: Of a run.
        baseline: Of the run that it is compared with.

    Returns:
        The gain on every target that both were evaluated on.

    Raises:
        ConfigurationError: Stand-in scores next to real ones, no target in common, or one that was evaluated on other images or at another
            size.
    """
    refuse_mixture({"the run": results, "the baseline": baseline})
    targets = [name for name in results.targets if name in baseline.targets]
    if not targets:
        known, own = ", ".join(baseline.targets), ", ".join(results.targets)
        raise ConfigurationError(f"baseline: evaluated on {known}, the run on {own}; no target in common.")
    for name in targets:
        _check_comparable(name, results.targets[name], baseline.targets[name])
    gains = [results.targets[name].minus(baseline.targets[name]) for name in targets]
    points = np.array([[_points(value) for value in gain.iou.values()] for gain in gains])
    if not np.isfinite(points).any():
        raise ConfigurationError("baseline: no class has ground truth in any common target, so there is nothing to compare.")
    conditions = {key: (str(getattr(results, key)), str(getattr(baseline, key))) for key in _CONDITIONS}
    return ClassGain(
        targets=tuple(targets),
        classes=tuple(gains[0].iou),
        points=points,
        miou=np.array([_points(gain.miou) for gain in gains]),
        differing={key: pair for key, pair in conditions.items() if pair[0] != pair[1]},
    )


def _check_comparable(target: str, own: TargetScores, other: TargetScores) -> None:
    """Refuse scores of other pixels or classes."""
    differing = own.differing(other)
    unlike = [f"{key} {own.conditions.get(key)} against {other.conditions.get(key)}" for key in differing if key != "classes"]
    if "classes" in differing or list(own.iou) != list(other.iou):
        unlike.append("other classes")
    if unlike:
        raise ConfigurationError(f"baseline: {target} was evaluated differently ({', '.join(unlike)}): evaluate both runs in the same way.")


def _points(difference: float | None) -> float:
    return float("nan") if difference is None else 100 * difference


@styled
def plot_confusion(confusion: np.ndarray, space: LabelSpace = CITYSCAPES, title: str = "") -> "Figure":
    """Draw a confusion matrix in percent of the pixels of each true class; classes without ground truth are grey.

    Args:
        confusion: Pixels `(K, K)`, rows are the ground truth.
        space: Names and colours of the classes.
        title: Above everything.
    """

    def show(percent: float) -> str:
        return f"{percent:.0f}" if percent > 0.5 else ""  # zeros would only hide the others

    figure, axes = class_matrix(100 * row_shares(confusion), space, title, 0, 100, "pixels of the true class in %", show)
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
        bars = axes.barh(range(len(order)), values, color=[_MORE if value > 0 else _LESS for value in values], height=0.7)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_title(f"{name}\nmIoU {round(miou, 1) + 0.0:+.1f}")
        axes.set_xlim(-1.45 * largest, 1.45 * largest)
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        labels = ["-" if np.isnan(value) else f"{round(value, 1) + 0.0:+.1f}" for value in points]
        axes.bar_label(bars, labels, padding=2, fontsize=5.5)
    class_axis(row[0], [gain.classes[k] for k in order], space.palette[order])
    figure.supxlabel("gain of IoU in percentage points", fontsize=7.5)
    return figure
