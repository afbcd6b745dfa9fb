"""The definitions of the analysis once more, as loops in float64."""

import math
from typing import Any

import numpy as np

from pin_memory.analysis import ClassFeatures


def pooled(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Share-weighted sums `(K, C)` and shares `(K,)` of unit features of one image: eq. 4 with bilinear shares, cell by cell.

    Args:
        features: `(C, h, w)`.
        labels: `(H, W)`.
        classes: K.
    """
    channels, height, width = features.shape
    sums, totals = np.zeros((classes, channels)), np.zeros(classes)
    for i in range(height):
        for j in range(width):
            vector = features[:, i, j].astype(np.float64)
            vector = vector / max(math.sqrt(sum(v * v for v in vector)), 1e-12)
            y = i * (labels.shape[0] - 1) / (height - 1) if height > 1 else 0.0
            x = j * (labels.shape[1] - 1) / (width - 1) if width > 1 else 0.0
            for row, row_weight in ((math.floor(y), 1 - (y - math.floor(y))), (math.floor(y) + 1, y - math.floor(y))):
                for column, column_weight in ((math.floor(x), 1 - (x - math.floor(x))), (math.floor(x) + 1, x - math.floor(x))):
                    if row_weight * column_weight > 0 and labels[row, column] < classes:
                        sums[labels[row, column]] += row_weight * column_weight * vector
                        totals[labels[row, column]] += row_weight * column_weight
    return sums, totals


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors."""
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))


def mean_of(sums: np.ndarray, shares: np.ndarray, images: list[int], k: int) -> np.ndarray | None:
    """Mean vector of class k over some images; None if they do not show it."""
    total = sum(shares[n, k] for n in images)
    return None if total == 0 else sum(sums[n, k] for n in images) / total


def distances(features: dict[str, ClassFeatures], k: int) -> dict[str, float]:
    """The four distances of class k, by their formulas."""
    classes = next(iter(features.values())).shares.shape[1]
    means = {name: [mean_of(f.before, f.shares, list(range(len(f.shares))), j) for j in range(classes)] for name, f in features.items()}
    names = list(features)
    between: list[float] = []
    within: list[float] = []
    noise: list[float] = []
    for a, name in enumerate(names):
        own: Any = means[name][k]
        for other in names[a + 1 :]:
            if own is not None and means[other][k] is not None:
                between.append(1 - cosine(own, means[other][k]))
        for j in range(classes):
            if j != k and own is not None and means[name][j] is not None:
                within.append(1 - cosine(own, means[name][j]))
        f = features[name]
        halves = [mean_of(f.before, f.shares, list(range(side, len(f.shares), 2)), k) for side in (0, 1)]
        if halves[0] is not None and halves[1] is not None:
            noise.append((1 - cosine(halves[0], halves[1])) / 2)
    found = {"between_domains": between, "between_classes": within, "noise": noise}
    return {key: sum(values) / len(values) if values else math.nan for key, values in found.items()}


def synthetic(domains: int = 3, images: int = 5, classes: int = 4, channels: int = 6, seed: int = 0) -> dict[str, ClassFeatures]:
    """Random class features, in which the last class is seen in the first domain alone, and in one image."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(domains):
        shares = rng.random((images, classes)) * (rng.random((images, classes)) < 0.8)
        shares[:, -1] = 0
        shares[0, :-1] = 1.0
        if number == 0:
            shares[2, -1] = 0.3
        sums = rng.normal(size=(images, classes, channels)) + 2.0
        found[f"d{number}"] = ClassFeatures(sums * shares[..., None], None, shares, tuple(f"{number}/{n}" for n in range(images)))
    return found
