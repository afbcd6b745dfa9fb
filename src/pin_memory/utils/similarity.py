"""How alike the memory items are: the cosine similarity of each pair of classes, as numpy arrays, for pictures, reports and analysis."""

import numpy as np


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., C) at unit length in float64; NaN for one that is zero or not known."""
    values = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, norms, out=np.full_like(values, np.nan), where=norms > 0)


def similarity(items: np.ndarray) -> np.ndarray:
    """Cosine similarities (..., K, K) float64 of memory items (..., K, C); NaN in the row and column of an item that is still zero."""
    unit = unit_rows(items)
    return (unit @ np.swapaxes(unit, -1, -2)).clip(-1, 1)


def mean_similarity(pairs: np.ndarray) -> np.ndarray:
    """Mean similarity (...,) of different classes from the `similarity` (..., K, K) of each pair; NaN where no pair has a value."""
    known = ~np.isnan(pairs) & ~np.eye(pairs.shape[-1], dtype=bool)
    count = known.sum(axis=(-2, -1))
    total = np.where(known, pairs, 0).sum(axis=(-2, -1))
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
