"""The scores on the targets as W&B tables and bar charts."""

import logging
from collections.abc import Mapping
from typing import Any

from pin_memory.loggers.wandb import own_run
from pin_memory.utils.tables import STAND_IN_NOTE

log = logging.getLogger(__name__)


def log_targets(results: Mapping[str, Any]) -> None:
    """Log the results into the W&B run of this training; do nothing where it has none, whichever other run is open.

    Logged: `test/classes`, IoU in % by class (rows) and target (columns); `test/targets`, a row per target with its means, and the floors;
    `test/iou_<target>`, a bar for each class; `test/miou`, a bar for each target and one for their mean. The mIoUs also go to the run's
    summary, as fractions (`test/miou_<target>`, `test/mean_miou`), so that runs can be sorted by them, and the note on stand-ins
    (`test/note`).

    Args:
        results: The content of `results.json`.
    """
    if (run := own_run()) is None:
        return
    import wandb

    try:
        _log(wandb, run, results)
    except (wandb.errors.Error, OSError) as error:  # the results lie in the run folder by now
        log.warning("The scores on the targets could not be logged into W&B: %s", error)


def _log(wandb: Any, run: Any, results: Mapping[str, Any]) -> None:
    """Tables and charts into the history, numbers into the summary."""
    targets = results["targets"]
    mark = " (STAND-IN)" if results.get("stand_in") else ""
    means = _percents({name: target["miou"] for name, target in targets.items()} | {"mean": results.get("mean_miou")})
    logged: dict[str, Any] = {
        "test/classes": wandb.Table(**class_rows(results), allow_mixed_types=True),
        "test/targets": wandb.Table(**target_rows(results), allow_mixed_types=True),
        "test/miou": _bars(wandb, "target", means, f"mIoU of the targets in %{mark}"),
    }
    for name, target in targets.items():
        logged[f"test/iou_{name}"] = _bars(wandb, "class", _percents(target["iou"]), f"IoU on {name} in %{mark}")
    run.log(logged)
    scores = {f"test/miou_{name}": target["miou"] for name, target in targets.items()} | {"test/mean_miou": results.get("mean_miou")}
    notes = {"test/selection": results.get("selection"), "test/protocol": str(results.get("protocol"))}
    notes |= {"test/note": STAND_IN_NOTE} if results.get("stand_in") else {}
    run.summary.update({key: value for key, value in (scores | notes).items() if value is not None})


def class_rows(results: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns and rows of the per-class table: IoU in %, None for a class without ground truth."""
    targets = results["targets"]
    names = dict.fromkeys(name for target in targets.values() for name in target["iou"])
    rows = [[name, *(_percent(target["iou"].get(name)) for target in targets.values())] for name in names]
    return {"columns": ["class", *targets], "data": rows}


def target_rows(results: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns and rows of the table of targets: means in %, what was judged, and the floors."""
    targets, floors = results["targets"], results.get("floors") or {}
    kinds = list(dict.fromkeys(key for target in targets.values() for key in target if key.startswith("miou")))
    rows = [
        [name, *(_percent(target.get(kind)) for kind in kinds), *(_percent(scores.get(name)) for scores in floors.values()),
         target.get("images"), "yes" if results.get("stand_in") else "no"]
        for name, target in targets.items()
    ]  # fmt: skip
    columns = ["target", *(f"mIoU{kind.removeprefix('miou')}" for kind in kinds), *(f"floor: {name}" for name in floors)]
    return {"columns": [*columns, "images", "STAND-IN"], "data": rows}


def _bars(wandb: Any, label: str, values: Mapping[str, float | None], title: str) -> Any:
    """A bar chart of the values that are there."""
    rows = [[name, value] for name, value in values.items() if value is not None]
    return wandb.plot.bar(wandb.Table(columns=[label, "IoU in %"], data=rows), label, "IoU in %", title=title)


def _percents(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _percent(value) for name, value in values.items()}


def _percent(value: float | None) -> float | None:
    """A fraction as percent with two decimals."""
    return None if value is None else round(100 * value, 2)
