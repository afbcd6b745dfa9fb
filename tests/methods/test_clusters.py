"""Exact one-dimensional k-means against all partitions."""

import itertools

import numpy as np
import pytest

from pin_memory.methods.clusters import cluster_starts, lowest_cluster


def squares(values: np.ndarray, starts: tuple[int, ...]) -> float:
    """Squared distances to the means of the clusters that begin at `starts`."""
    return sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(values, starts[1:]))


@pytest.mark.parametrize("seed", range(40))
def test_no_partition_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(3, 11))
    clusters = int(generator.integers(1, min(count, 5) + 1))
    values = np.sort(generator.exponential(size=count).round(int(generator.integers(1, 4))))  # with ties
    best = min(squares(values, (0, *rest)) for rest in itertools.combinations(range(1, count), clusters - 1))
    assert squares(values, tuple(cluster_starts(values, clusters))) == pytest.approx(best, abs=1e-12)


def test_the_lowest_cluster_ends_below_the_gap() -> None:
    assert lowest_cluster(np.array([5.0, 0.2, 0.1, 5.1, 0.15, 9.0]), 3) == 0.2


def test_equal_values_are_one_cluster() -> None:
    assert lowest_cluster(np.ones(5), 3) == 1
