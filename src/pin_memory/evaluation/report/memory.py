"""The memory's similarity over training, for a heat map with a slider over the iterations."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pin_memory.evaluation.report.charts import line_chart
from pin_memory.memory.similarity import mean_similarity, similarity
from pin_memory.utils.pictures import shade

_MAX_MAPS = 40
_CELL = 20


def memory_section(trace: tuple[np.ndarray, np.ndarray] | None, classes: Sequence[str]) -> dict[str, Any] | None:
    """What the section shows of the trace, iterations `(T,)` and memory items `(T, K, C)`; None for a run without memory."""
    if trace is None:
        return None
    steps, items = trace
    count = items.shape[1]
    names = list(classes) if len(classes) == count else [f"class {index}" for index in range(count)]
    pairs = similarity(items)
    kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MAX_MAPS)).round().astype(int))
    maps = [[None if np.isnan(v) else round(100 * v) for v in pairs[index].ravel().tolist()] for index in kept]
    colours = shade(pairs[-1]).reshape(-1, 3).tolist()
    return {
        "names": names, "count": count, "cell": _CELL, "step": int(steps[-1]),
        "cells": [{"row": index // count, "column": index % count, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
                  for index, colour in enumerate(colours)],
        "data": {"steps": [int(steps[index]) for index in kept], "names": names, "maps": maps},
        "charts": [chart for chart in (_mean_chart(steps, pairs), _turn_chart(steps, items)) if chart],
    }  # fmt: skip


def _mean_chart(steps: np.ndarray, pairs: np.ndarray) -> dict[str, Any] | None:
    """Mean similarity of different classes over training."""
    values = mean_similarity(pairs).tolist()
    return line_chart("memory-mean", "Mean similarity of different classes", {"cosine similarity": (steps.tolist(), values)})


def _turn_chart(steps: np.ndarray, items: np.ndarray) -> dict[str, Any] | None:
    """Mean angle, in degrees, between the items of a record and those of the one before."""
    norms = np.linalg.norm(items, axis=-1)
    products = norms[1:] * norms[:-1]
    dots = (items[1:].astype(np.float64) * items[:-1]).sum(axis=-1)
    cosines = np.divide(dots, products, out=np.full(dots.shape, np.nan), where=products > 0).clip(-1, 1)
    known = ~np.isnan(cosines)
    counts = known.sum(axis=1)
    sums = np.where(known, np.degrees(np.arccos(np.nan_to_num(cosines, nan=1.0))), 0).sum(axis=1)
    turns = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    title = "How far the items turn between two records"
    return line_chart("memory-turn", title, {"mean angle": (steps[1:].tolist(), turns.tolist())}, unit="degrees")
