"""The scores on the targets as W&B tables and bar charts."""

from collections.abc import Mapping, Sequence
from typing import Any

from pin_memory.loggers.summary import notes_of, scores_of
from pin_memory.loggers.wandb import own_run
from pin_memory.utils.wandb_guard import attempt


def log_targets(results: Mapping[str, Any], kinds: Sequence[str] = ("miou",)) -> None:
    """Log the results into the W&B run of this training; do nothing where it has none, whichever other run is open.

    Logged: `test/classes`, IoU by class (rows) and target (columns); `test/targets`, a row per target with its means, and the floors;
    `test/iou_<target>`, a bar for each class; `test/miou`, a bar for each target and one for their mean. The mIoUs and the IoU of each
    class also go to the run's summary, as fractions (`test/miou_<target>`, `test/mean_miou`, `test/iou_<target>/<class>`), so that runs
    can be sorted by them, and the note on stand-ins (`test/note`).

    Args:
        results: The content of `results.json`.
        kinds: Names of the means that a target has.
    """
    if (run := own_run()) is None:
        return
    run.summary.update(scores_of(results) | notes_of(results))
    for name, table in (attempt("making the tables of the scores", _tables, results, kinds) or {}).items():
        run.log({name: table})  # one that cannot be written takes no other with it


def _tables(results: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """The tables and bar charts by their names; None for a class without ground truth."""
    import wandb

    targets, floors, stand_in = results["targets"], results.get("floors") or {}, results.get("stand_in")
    mark = " (STAND-IN)" if stand_in else ""
    names = dict.fromkeys(name for target in targets.values() for name in target["iou"])
    classes = [[name, *(_rounded(target["iou"].get(name)) for target in targets.values())] for name in names]
    columns = ["target", *(f"mIoU{kind.removeprefix('miou')}" for kind in kinds), *(f"floor: {name}" for name in floors)]
    rows = [
        [name, *(_rounded(target.get(kind)) for kind in kinds), *(_rounded(scores.get(name)) for scores in floors.values()),
         target.get("images"), "yes" if stand_in else "no"]
        for name, target in targets.items()
    ]  # fmt: skip

    def bars(label: str, values: Mapping[str, float | None], title: str) -> Any:
        shown = [[name, _rounded(value)] for name, value in values.items() if value is not None]
        return wandb.plot.bar(wandb.Table(columns=[label, "IoU"], data=shown), label, "IoU", title=f"{title}{mark}")

    means = {name: target["miou"] for name, target in targets.items()} | {"mean": results.get("mean_miou")}
    return {
        "test/classes": wandb.Table(columns=["class", *targets], data=classes, allow_mixed_types=True),
        "test/targets": wandb.Table(columns=[*columns, "images", "STAND-IN"], data=rows, allow_mixed_types=True),
        "test/miou": bars("target", means, "mIoU of the targets"),
        **{f"test/iou_{name}": bars("class", target["iou"], f"IoU on {name}") for name, target in targets.items()},
    }


def _rounded(value: float | None) -> float | None:
    """A fraction with four decimals: W&B has fractions everywhere."""
    return None if value is None else round(value, 4)
