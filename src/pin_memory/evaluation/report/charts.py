"""Line charts, and the similarity of the memory over training, as plain numbers that a template turns into SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pin_memory.utils.pictures import shade
from pin_memory.utils.similarity import mean_similarity, similarity, unit_rows

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 40
_MAX_POINTS = 300
_MAX_MAPS, _CELL = 40, 20
_MARKED = 40  # series of at most so many points get a dot at each


@dataclass(frozen=True)
class Axis:
    """A linear axis from the value `low` at the place `start` of the drawing to `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies in the drawing."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[dict[str, Any]]:
        """Multiples of 1, 2 or 5 times a power of ten, with their places, and labels of as many digits as tell them apart."""
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        values = np.arange(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1) * step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        form = ".1e" if max(abs(self.low), abs(self.high)) >= 1e6 or digits > 5 else f",.{digits}f"
        return [{"at": self.place(value), "label": f"{value:{form}}" if value else "0"} for value in values.tolist()]


def line_chart(
    name: str, title: str, series: Mapping[str, tuple[Sequence[int], Sequence[float]]], hidden: Sequence[str] = (), unit: str = ""
) -> dict[str, Any] | None:
    """Lay out values over iterations for the template; None where no value is finite. Lines in `hidden` are switched off at first."""
    thinned = {label: _thin(steps, values) for label, (steps, values) in series.items()}
    points = [(s, v) for steps, values in thinned.values() for s, v in zip(steps, values, strict=True) if v is not None]
    if not points:
        return None
    x = _axis([s for s, _ in points], _LEFT, WIDTH - _RIGHT, margin=0)
    y = _axis([v for _, v in points], HEIGHT - _BOTTOM, _TOP, margin=0.05)
    lines = [
        {"label": label, "colour": number % 8, "dashed": number >= 8, "hidden": label in hidden, **_drawn(steps, values, x, y)}
        for number, (label, (steps, values)) in enumerate(thinned.items())
    ]
    data = {
        "x": [x.low, x.high, x.start, x.end],
        "lines": [{"label": label, "steps": steps, "values": values} for label, (steps, values) in thinned.items()],
    }
    return {
        "name": name, "title": title, "unit": unit, "lines": lines, "x": x.ticks(6), "y": y.ticks(), "data": data,
        "thinned": any(len(steps) > _MAX_POINTS for steps, _ in series.values()),
        "frame": {"left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM, "width": WIDTH, "height": HEIGHT},
    }  # fmt: skip


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float | None]]:
    """At most `_MAX_POINTS` points: means over neighbours where there are more; None for what is not finite."""
    size = -(-len(steps) // _MAX_POINTS)
    kept, means = [], []
    for start in range(0, len(steps), size or 1):
        part = [v for v in values[start : start + size] if math.isfinite(v)]
        kept.append(int(steps[min(start + size, len(steps)) - 1]))
        means.append(float(f"{sum(part) / len(part):.6g}") if part else None)  # more digits than a chart can show
    return kept, means


def _axis(values: Sequence[float], start: float, end: float, margin: float) -> Axis:
    """An axis over the values with a margin at both ends."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    if low == high:
        low, high = low - span / 2, high + span / 2
    return Axis(low - margin * span, high + margin * span, start, end)


def _drawn(steps: Sequence[int], values: Sequence[float | None], x: Axis, y: Axis) -> dict[str, Any]:
    """The SVG path of a line, interrupted where there is no value, and, where it has few points, its dots."""
    parts, dots, pen = [], [], "M"
    for step, value in zip(steps, values, strict=True):
        if value is None:
            pen = "M"
            continue
        dots.append((x.place(step), y.place(value)))
        parts.append(f"{pen}{dots[-1][0]} {dots[-1][1]}")
        pen = "L"
    return {"path": "".join(parts), "dots": dots if len(steps) <= _MARKED else []}


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
        "charts": [chart for chart in _memory_charts(steps, items, pairs) if chart],
    }  # fmt: skip


def _memory_charts(steps: np.ndarray, items: np.ndarray, pairs: np.ndarray) -> list[dict[str, Any] | None]:
    """The mean similarity of different classes, and the mean angle between the items of a record and those of the one before."""
    values = mean_similarity(pairs).tolist()
    unit = unit_rows(items)
    angles = np.degrees(np.arccos((unit[1:] * unit[:-1]).sum(axis=-1).clip(-1, 1)))
    turns = np.ma.masked_invalid(angles).mean(axis=1).filled(np.nan).tolist()
    title = "How far the items turn between two records"
    return [
        line_chart("memory-mean", "Mean similarity of different classes", {"cosine similarity": (steps.tolist(), values)}),
        line_chart("memory-turn", title, {"mean angle": (steps[1:].tolist(), turns)}, unit="degrees"),
    ]
