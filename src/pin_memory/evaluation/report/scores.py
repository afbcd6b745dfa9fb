"""The scores of a run, arranged for its report."""

from collections.abc import Iterable, Mapping
from typing import Any

from pin_memory.runs.folder import Series
from pin_memory.runs.results import Results, kind_label, known_mean
from pin_memory.runs.score_table import baseline_name


def cards(results: Results | None, metrics: Series) -> list[dict[str, str]]:
    """The few numbers that come first; `metrics` are the columns of `metrics.csv`."""
    shown: list[dict[str, str]] = []
    if results:
        count, mean = len(results.targets), results.mean_miou
        if mean is not None:
            shown.append(_card("mIoU", f"{100 * mean:.1f} %", f"mean over {count} target{'s' if count > 1 else ''}"))
        if (validation := known_mean((results.source_validation or {}).values())) is not None:
            shown.append(_card("source validation", f"{100 * validation:.1f} %", results.selection or ""))
        floors = {name: mean for name, floor in (results.floors or {}).items() if (mean := known_mean(floor.values())) is not None}
        if floors:
            highest = max(floors, key=lambda name: floors[name])
            shown.append(_card("floor to beat", f"{100 * floors[highest]:.1f} %", highest))
    if steps := max((steps[-1] for steps, _ in metrics.values() if steps), default=None):
        seen = results.images_seen if results else None
        shown.append(_card("iterations logged", f"{steps:,}", f"{seen:,} images seen" if seen else ""))
    return shown


def _card(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def score_tables(results: Results | None, colours: Mapping[str, str]) -> dict[str, Any] | None:
    """Scores by class and by target with their means, the floors, the gain and what was evaluated; None without targets."""
    if not results or not results.targets:
        return None
    targets = list(results.targets.values())
    names = dict.fromkeys(name for target in targets for name in target.iou)
    conditions = {name: target.conditions for name, target in results.targets.items()}
    return {
        "targets": list(results.targets),
        "classes": [_row(name, (target.iou.get(name) for target in targets)) | {"colour": colours.get(name)} for name in names],
        "means": [_row(kind_label(kind), (target.means.get(kind) for target in targets)) for kind in results.kinds()],
        "floors": [_row(name, (floor.get(target) for target in results.targets)) for name, floor in (results.floors or {}).items()],
        "gain": _gain(results),
        "about": [{"name": name, **{key: one.get(key) for key in ("images", "layout", "view")}} for name, one in conditions.items()],
    }


def _gain(results: Results) -> dict[str, Any] | None:
    """The differences to a baseline's mIoU as text, a dash where the two cannot be compared."""
    if not results.gain:
        return None
    values = [scores.miou if scores else None for scores in map(results.gain.targets.get, results.targets)]
    signed = ["–" if value is None else f"{100 * value:+.1f}" for value in (*values, results.gain.mean_miou)]
    return {"name": baseline_name(results), "values": signed}


def _row(name: str, values: Iterable[float | None]) -> dict[str, Any]:
    values = list(values)
    return {"name": name, "values": values, "mean": known_mean(values)}
