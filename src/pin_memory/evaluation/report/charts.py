"""Line charts as plain numbers that a template turns into SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 40
_MAX_POINTS = 300
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
        """Round values with their places."""
        return [{"at": self.place(value), "label": label} for value, label in _round_values(self.low, self.high, count)]


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
        means.append(_significant(sum(part) / len(part)) if part else None)
    return kept, means


def _significant(value: float) -> float:
    """Six digits are more than a chart can show."""
    return float(f"{value:.6g}")


def _axis(values: Sequence[float], start: float, end: float, margin: float) -> Axis:
    """An axis over the values with a margin at both ends."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    if low == high:
        low, high = low - span / 2, high + span / 2
    return Axis(low - margin * span, high + margin * span, start, end)


def _drawn(steps: Sequence[int], values: Sequence[float | None], x: Axis, y: Axis) -> dict[str, Any]:
    """The path of a line and, where it has few points, its dots."""
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    dots = [(x.place(step), y.place(value)) for step, value in known] if len(steps) <= _MARKED else []
    return {"path": _path(steps, values, x, y), "dots": dots}


def _path(steps: Sequence[int], values: Sequence[float | None], x: Axis, y: Axis) -> str:
    """An SVG path that is interrupted where there is no value."""
    parts, pen = [], "M"
    for step, value in zip(steps, values, strict=True):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x.place(step)} {y.place(value)}")
        pen = "L"
    return "".join(parts)


def _round_values(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Multiples of 1, 2 or 5 times a power of ten within the range, with labels of as many digits as tell them apart."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    values = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    large = max(abs(low), abs(high))
    if large >= 1e6 or digits > 5:
        return [(float(v), f"{v:.1e}" if v else "0") for v in values]
    return [(float(v), f"{v:,.{digits}f}" if v else "0") for v in values]
