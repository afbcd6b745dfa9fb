"""Exact k-means of numbers: in one dimension clusters are intervals, so the best ones are found by dynamic programming."""

from collections.abc import Callable

import numpy as np


def lowest_cluster(values: np.ndarray, clusters: int) -> float:
    """The largest value in the lowest of the k-means clusters of numbers.

    Args:
        values: Numbers, (N,).
        clusters: Number of clusters k; with fewer different values, each is a cluster.

    Returns:
        The upper end of the lowest cluster.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    starts = cluster_starts(ordered, min(clusters, len(np.unique(ordered))))
    return float(ordered[-1] if len(starts) < 2 else ordered[starts[1] - 1])


def cluster_starts(ordered: np.ndarray, clusters: int) -> list[int]:
    """Where the clusters of sorted numbers begin such that the sum of squared distances to their means is least.

    Args:
        ordered: Sorted numbers, (N,) float64.
        clusters: k, 1..N.

    Returns:
        k positions, the first 0.
    """
    count = len(ordered)
    centred = ordered - ordered.mean()  # keeps the prefix sums of squares exact
    first, second = (np.concatenate([[0.0], np.cumsum(power)]) for power in (centred, centred**2))

    def cost(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Squared distances to the mean of positions start..stop, both included."""
        total = first[stop + 1] - first[start]
        return second[stop + 1] - second[start] - total**2 / (stop + 1 - start)

    ends = np.arange(count)
    best = cost(np.zeros(count, np.int64), ends)
    choices = []
    for _ in range(clusters - 1):
        best, start = _one_more(np.concatenate([[np.inf], best[:-1]]), cost, count)
        choices.append(start)
    starts, end = [], count - 1
    for start in reversed(choices):
        starts.append(int(start[end]))
        end = starts[-1] - 1
    return [0, *reversed(starts)]


def _one_more(before: np.ndarray, cost: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The best cost of positions 0..i in one cluster more, and where the last cluster starts, for all i.

    The best start never moves left as i grows. So the i in the middle of a range bounds the starts of both halves, and all ranges of one
    size are searched at once.

    Args:
        before: Best cost of positions 0..j-1 in the clusters so far, for all j.
        cost: Of one cluster from start to stop.
        count: Number of positions.
    """
    best, start = np.full(count, np.inf), np.zeros(count, np.int64)
    low, high = np.array([0]), np.array([count - 1])
    left, right = np.array([0]), np.array([count - 1])
    while len(low):
        middle = (low + high) // 2
        lengths = np.minimum(middle, right) - left + 1
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        group = np.repeat(np.arange(len(middle)), lengths)
        candidate = np.arange(len(group)) - offsets[group] + left[group]
        total = before[candidate] + cost(candidate, middle[group])
        best[middle] = np.minimum.reduceat(total, offsets)
        hits = np.flatnonzero(total <= best[middle][group])
        start[middle] = candidate[hits[np.searchsorted(group[hits], np.arange(len(middle)))]]
        chosen = start[middle]
        low, high = np.concatenate([low, middle + 1]), np.concatenate([middle - 1, high])
        left, right = np.concatenate([left, chosen]), np.concatenate([chosen, right])
        keep = low <= high
        low, high, left, right = low[keep], high[keep], left[keep], right[keep]
    return best, start
