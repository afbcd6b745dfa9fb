"""Cosine similarity of the memory items."""

import numpy as np
import pytest

from pin_memory.utils.similarity import mean_similarity, similarity


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """By the definition, in loops."""
    dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    lengths = [sum(float(a) ** 2 for a in vector) ** 0.5 for vector in (one, other)]
    return dot / (lengths[0] * lengths[1]) if all(lengths) else float("nan")


@pytest.fixture
def items() -> np.ndarray:
    """Five items, one of which is not written yet."""
    items = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    items[3] = 0
    return items


def test_similarity_is_the_cosine(items: np.ndarray) -> None:
    expected = np.array([[cosine(one, other) for other in items] for one in items])
    assert similarity(items) == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert similarity(np.stack([items, 2 * items]))[1] == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_the_mean_is_over_pairs_of_different_written_classes(items: np.ndarray) -> None:
    pairs = [cosine(items[i], items[j]) for i in (0, 1, 2, 4) for j in (0, 1, 2, 4) if i != j]
    assert mean_similarity(similarity(items)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)
    assert np.isnan(mean_similarity(similarity(np.zeros((3, 4)))))
