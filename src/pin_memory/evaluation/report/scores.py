"""The scores of a run, arranged for its report."""

from collections.abc import Mapping
from typing import Any

from pin_memory.runs.results import baseline_name, known_mean

Series = Mapping[str, tuple[list[int], list[float]]]


def cards(results: Mapping[str, Any], metrics: Series) -> list[dict[str, str]]:
    """The few numbers that come first.

    Args:
        results: `results.json`, or empty.
        metrics: Columns of `metrics.csv`.
    """
    shown: list[dict[str, str]] = []
    targets = results.get("targets") or {}
    if results.get("mean_miou") is not None:
        over = f"mean over {len(targets)} target{'s' if len(targets) > 1 else ''}"
        shown.append({"label": "mIoU", "value": f"{100 * results['mean_miou']:.1f} %", "note": over})
    validation = known_mean((results.get("source_validation") or {}).values())
    if validation is not None:
        note = str(results.get("selection") or "")
        shown.append({"label": "source validation", "value": f"{100 * validation:.1f} %", "note": note})
    floors = _best_floor(results)
    if floors:
        shown.append({"label": "floor to beat", "value": f"{100 * floors[1]:.1f} %", "note": floors[0]})
    steps = max((steps[-1] for steps, _ in metrics.values() if steps), default=None)
    if steps:
        seen = results.get("images_seen")
        shown.append({"label": "iterations logged", "value": f"{steps:,}", "note": f"{seen:,} images seen" if seen else ""})
    return shown


def score_tables(results: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any] | None:
    """Scores by class and by target.

    Args:
        results: `results.json`, or empty.
        colours: Of the classes, where they are known.

    Returns:
        `targets`, `classes` (name, colour, IoU by target and their mean), `means` and `floors` (label, values by target, their mean),
        `gain` over a baseline where there is one, `about` (what was judged, by target); None where nothing was judged.
    """
    targets = results.get("targets") or {}
    if not targets:
        return None
    names = dict.fromkeys(name for target in targets.values() for name in target["iou"])
    classes = [
        {"name": name, "colour": colours.get(name), "values": (row := [target["iou"].get(name) for target in targets.values()]),
         "mean": known_mean(row)}
        for name in names
    ]  # fmt: skip
    kinds = dict.fromkeys(key for target in targets.values() for key in target if key.startswith("miou"))
    means = [_mean_row(f"mIoU{kind.removeprefix('miou')}", {name: target.get(kind) for name, target in targets.items()}) for kind in kinds]
    floors = [_mean_row(name, {target: scores.get(target) for target in targets}) for name, scores in (results.get("floors") or {}).items()]
    about = [{"name": name, **{key: target.get(key) for key in ("images", "layout", "view")}} for name, target in targets.items()]
    return {"targets": list(targets), "classes": classes, "means": means, "floors": floors, "gain": _gain(results), "about": about}


def _gain(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The differences to a baseline's mIoU as text, a dash where the two cannot be compared."""
    gain = results.get("gain")
    if not gain:
        return None
    values = [(gain["targets"].get(name) or {}).get("miou") for name in results["targets"]]
    signed = ["–" if value is None else f"{100 * value:+.1f}" for value in (*values, gain.get("mean_miou"))]
    return {"name": baseline_name(results), "values": signed}


def _mean_row(label: str, values: Mapping[str, float | None]) -> dict[str, Any]:
    return {"name": label, "values": list(values.values()), "mean": known_mean(values.values())}


def _best_floor(results: Mapping[str, Any]) -> tuple[str, float] | None:
    """The highest of the floors, by its mean over targets."""
    means = {name: known_mean(scores.values()) for name, scores in (results.get("floors") or {}).items()}
    known = {name: mean for name, mean in means.items() if mean is not None}
    return max(known.items(), key=lambda item: item[1]) if known else None
