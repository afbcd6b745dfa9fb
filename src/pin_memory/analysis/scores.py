"""What is confused with what, and what one run gains over another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pin_memory.evaluation.compare import JUDGED, refuse_mixture
from pin_memory.inference.batch_norm import RUNNING, TestStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.results import CONFUSIONS
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.untrusted import load_arrays

_CONDITIONS = ("protocol", "statistics")
"""What may differ between two results, and is then said."""


@dataclass(frozen=True)
class ClassGain:
    """Differences of IoU in percentage points, run minus baseline; NaN where a class has no ground truth.

    Attributes:
        targets: Names of the T targets that both runs were judged on.
        classes: Names of the K classes.
        points: `(T, K)`.
        miou: `(T,)` of the mIoU.
        differing: What the runs were judged by where it differs, e.g. `{"protocol": ("sliding_768@1", "whole@1")}`.
    """

    targets: tuple[str, ...]
    classes: tuple[str, ...]
    points: np.ndarray
    miou: np.ndarray
    differing: dict[str, tuple[str, str]]


@torch.inference_mode()
def confusion_matrix(
    network: MemorySegmenter, batches: Iterable[Mapping[str, Any]], protocol: Protocol = WHOLE, statistics: TestStatistics = RUNNING
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


def read_confusions(run: str | Path) -> dict[str, np.ndarray]:
    """The confusion matrices that a run was judged by, by target; none if it kept none.

    Raises:
        DataError: The file is damaged.
    """
    path = Path(run) / CONFUSIONS
    if not path.is_file():
        return {}
    try:
        kept = load_arrays(path)
    except DataError as error:
        raise DataError(f"{error} Expected a confusion matrix for each target. Evaluate again.") from error
    for name, counts in kept.items():
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind != "i":
            raise DataError(f"{path}: expected a confusion matrix (K, K) of counts for each target; {name} is none. Evaluate again.")
    return kept


def row_shares(confusion: np.ndarray) -> np.ndarray:
    """Shares `(K, K)` of the predicted classes in the pixels of each class, rows sum to 1; NaN in rows without ground truth."""
    totals = confusion.sum(axis=1, keepdims=True)
    return confusion / np.where(totals > 0, totals, np.nan)


def class_gain(results: Mapping[str, Any], baseline: Mapping[str, Any]) -> ClassGain:
    """Compare two runs class by class.

    Args:
        results: The content of a run's `results.json`.
        baseline: That of the run it is compared with.

    Raises:
        ConfigurationError: Stand-in scores beside real ones, no target in common, or one that was judged on other images or at another
            size.
    """
    refuse_mixture([results, baseline])
    targets = [name for name in results["targets"] if name in baseline["targets"]]
    if not targets:
        known = ", ".join(baseline["targets"])
        raise ConfigurationError(f"baseline: judged on {known}, the run on {', '.join(results['targets'])}; no target in common.")
    pairs = [(results["targets"][name], baseline["targets"][name]) for name in targets]
    for name, (own, other) in zip(targets, pairs, strict=True):
        differing = [key for key in JUDGED if own.get(key) != other.get(key)]
        unlike = [f"{key} {own.get(key)} against {other.get(key)}" for key in differing if key != "classes"]
        unlike += ["other classes"] if "classes" in differing or list(own["iou"]) != list(other["iou"]) else []
        if unlike:
            raise ConfigurationError(f"baseline: {name} was judged differently ({', '.join(unlike)}): evaluate both runs in the same way.")
    classes = tuple(pairs[0][0]["iou"])
    points = np.array([[_points(own["iou"][k], other["iou"][k]) for k in classes] for own, other in pairs])
    if not np.isfinite(points).any():
        raise ConfigurationError("baseline: no class has ground truth in any common target, so there is nothing to compare.")
    conditions = {key: (str(results.get(key)), str(baseline.get(key))) for key in _CONDITIONS}
    return ClassGain(
        targets=tuple(targets),
        classes=classes,
        points=points,
        miou=np.array([_points(own["miou"], other["miou"]) for own, other in pairs]),
        differing={key: pair for key, pair in conditions.items() if pair[0] != pair[1]},
    )


def _points(own: float | None, other: float | None) -> float:
    return float("nan") if own is None or other is None else 100 * (own - other)
