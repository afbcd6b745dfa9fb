"""What is confused with what, and what one run gains over another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pin_memory.evaluation.compared_runs import refuse_mixture
from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.results import Results, TargetScores
from pin_memory.utils.errors import ConfigurationError

_CONDITIONS = ("protocol", "statistics")
"""What may differ between two results, and is then named."""


@dataclass(frozen=True)
class ClassGain:
    """Differences of IoU in percentage points, run minus baseline; NaN where a class has no ground truth.

    Attributes:
        targets: Names of the T targets that both runs were evaluated on.
        classes: Names of the K classes.
        points: `(T, K)`.
        miou: `(T,)` of the mIoU.
        differing: How the runs were evaluated where it differs, e.g. `{"protocol": ("sliding_768@1", "whole@1")}`.
    """

    targets: tuple[str, ...]
    classes: tuple[str, ...]
    points: np.ndarray
    miou: np.ndarray
    differing: dict[str, tuple[str, str]]


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
