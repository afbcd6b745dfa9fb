"""The report of one run."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from pin_memory.evaluation.report.charts import line_chart, memory_section
from pin_memory.evaluation.report.page import LAYERS, panels, write_page
from pin_memory.runs.folder import RunFolder, Series, dotted
from pin_memory.runs.results import Results, kind_label, known_mean
from pin_memory.runs.score_table import baseline_name
from pin_memory.utils.errors import DataError, UserError
from pin_memory.utils.locking import exclusive
from pin_memory.utils.tables import STAND_IN_NOTE

log = logging.getLogger(__name__)

REPORT = "report.html"
"""Name of the report in a run folder."""
_SETTINGS = {
    "iterations": "trainer.max_steps", "precision": "trainer.precision", "batch size per domain": "loading.batch_size",
    "crop": "augmentation.crop_size", "learning rate": "optimizer.lr", "weight decay": "optimizer.weight_decay",
    "inner learning rate": "method.inner_lr", "first order": "method.first_order", "batch norm in training": "method.train_statistics",
    "batch norm frozen after": "method.freeze_statistics_after",
    "pretrained": "network.backbone.pretrained", "memory channels": "network.memory.channels",
    "momentum of the memory": "network.memory.momentum",
    "selection": "selection", "seed": "seed",
}  # fmt: skip
_TOTALS = ("loss/inner", "loss/outer", "loss/total", "loss/loss")


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run folder: settings, curves, scores, panels and memory in one file.

    Args:
        run: The folder of a training or an evaluation.
        output: The file to write; `<run>/report.html` by default.

    Returns:
        The file.

    Raises:
        DataError: There is no such folder, or nothing in it to report.
        OutputError: The file cannot be written, or is to lie in the run folder while another process works on the run.
    """
    folder = RunFolder.read(run)
    if not folder.results and not folder.metrics:
        reasons = "".join(f" Could not be read: {reason}" for reason in folder.unread)
        raise DataError(
            f"run={run}: found neither results.json nor metrics.csv in {folder.path}. Give a run folder, runs/<experiment>/<time>.{reasons}"
        )
    path = Path(output).expanduser() if output else folder.path / REPORT
    inside = path.resolve().is_relative_to(folder.path.resolve())
    with exclusive(folder.path, advice=f", or write the report elsewhere: output={REPORT}") if inside else nullcontext():
        write_page(path, "run.html.j2", **_page(folder))
    return path


def try_report(run: str | Path) -> Path | None:
    """`write_report` at the end of a run, which has its results by then: a failure is logged, and None returned in place of the report."""
    try:
        return write_report(run)
    except (UserError, OSError) as error:
        log.warning("No report: %s The results are not concerned; `python -m pin_memory.report run=%s` tries again.", error, run)
    except Exception:
        log.exception("No report, because of a defect in writing it. The results are not concerned.")
    return None


def _page(folder: RunFolder) -> dict[str, Any]:
    """What the template shows: everything that the folder holds."""
    results, shown = folder.results, panels(folder)
    classes = folder.tiles.classes or list({name: None for target in (results.targets if results else {}).values() for name in target.iou})
    path = folder.path.resolve()
    experiment = str(folder.config.get("name") or path.parent.name)
    colours = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in zip(classes, folder.tiles.palette, strict=False)}
    return {
        "kind": "Report of an evaluation" if folder.is_evaluation else "Report of a run", "path": path,
        "title": experiment if experiment == path.name else f"{experiment} {path.name}", "results": results,
        "note": STAND_IN_NOTE if folder.stand_in else None,
        "cards": cards(results, folder.metrics), "tables": score_tables(results, colours),
        "charts": [chart for chart in _charts(folder.metrics) if chart], "memory": memory_section(folder.trace, classes),
        "panels": shown, "left_out": len(folder.tiles.panels) - sum(map(len, shown.values())), "layers": LAYERS,
        "classes": classes, "colours": colours, "settings": _settings(folder), "overrides": folder.overrides, "choices": folder.choices,
        "unread": folder.unread, "yaml": yaml.safe_dump(folder.config, sort_keys=False, allow_unicode=True) if folder.config else "",
    }  # fmt: skip


def _charts(metrics: Series) -> list[dict[str, Any] | None]:
    """Losses, source validation, learning rates, times and norms, as far as they were logged."""
    losses = _group(metrics, "loss/")
    terms = [label for label in losses if f"loss/{label}" not in _TOTALS]
    validated = sorted((name for name in metrics if f"{name}_".startswith("val/miou_")), key=lambda name: name != "val/miou")
    percent = {name: (metrics[name][0], [100 * value for value in metrics[name][1]]) for name in validated}
    validation = {name.removeprefix("val/miou_").replace("val/miou", "mean"): series for name, series in percent.items()}
    rates = {label: metrics[name] for name, label in (("lr", "outer step"), ("inner_lr", "inner step")) if name in metrics}
    return [
        line_chart("loss", "Loss", losses, hidden=terms if len(terms) < len(losses) else ()),
        line_chart("validation", "Source validation", validation, unit="mIoU in %"),
        line_chart("rate", "Learning rate", rates),
        line_chart("times", "Time of an iteration", _group(metrics, "time/"), unit="s"),
        line_chart("norms", "Norm of the gradients", _group(metrics, "grad_norm/")),
        line_chart("step", "Norm of the step to the fast weights", _group(metrics, "fast_weights/step_norm", "inner step")),
        line_chart("weights", "Norm of the fast weights", _group(metrics, "fast_weights/norm", "all weights")),
        line_chart("ridge", "Ridge head", _group(metrics, "ridge/")),
    ]


def _group(metrics: Series, prefix: str, label: str = "") -> Series:
    """Metrics of a prefix under shorter labels, totals first."""
    names = sorted((name for name in metrics if name.startswith(prefix)), key=lambda name: name not in _TOTALS)
    return {label + name.removeprefix(prefix).replace("_", " "): metrics[name] for name in names}


def _settings(folder: RunFolder) -> list[tuple[str, str]]:
    """The settings that readers look for first, with their values."""
    facts = ("method", "network", "sources", "protocol", "statistics", "selection", "checkpoint")
    rows: dict[str, Any] = {key: getattr(folder.results, key, None) for key in facts}
    rows = {label: value for label, value in rows.items() if value}
    config = dotted(folder.config)
    rows |= {label: config.get(key) for label, key in _SETTINGS.items() if label not in rows}
    if config.get(_SETTINGS["pretrained"], "") is None:
        rows["pretrained"] = "none (random weights)"
    found = folder.provenance
    rows["revision"] = (folder.results and folder.results.revision) or (found.get("git") or {}).get("revision")
    rows |= {"date": found.get("date"), "Python": found.get("python")} | (found.get("packages") or {})
    rows["accelerators"] = found.get("accelerators") or ("CPU" if found else None)
    return [(label, _text(value)) for label, value in rows.items() if value not in (None, "", []) and not str(value).startswith("${")]


def _text(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def cards(results: Results | None, metrics: Series) -> list[tuple[str, str, str]]:
    """The few numbers that come first, each with its label and a note; `metrics` are the columns of `metrics.csv`."""
    shown = []
    if results:
        count, mean = len(results.targets), results.mean_miou
        if mean is not None:
            shown.append(("mIoU", f"{100 * mean:.1f} %", f"mean over {count} target{'s' if count > 1 else ''}"))
        if (validation := known_mean((results.source_validation or {}).values())) is not None:
            shown.append(("source validation", f"{100 * validation:.1f} %", results.selection or ""))
        floors = {name: mean for name, floor in (results.floors or {}).items() if (mean := known_mean(floor.values())) is not None}
        if floors:
            highest = max(floors, key=lambda name: floors[name])
            shown.append(("floor to beat", f"{100 * floors[highest]:.1f} %", highest))
    if steps := max((steps[-1] for steps, _ in metrics.values() if steps), default=None):
        seen = results.images_seen if results else None
        shown.append(("iterations logged", f"{steps:,}", f"{seen:,} images seen" if seen else ""))
    return shown


def score_tables(results: Results | None, colours: Mapping[str, str]) -> dict[str, Any] | None:
    """Scores by class and by target with their means, the floors, the gain and what was evaluated; None without targets."""
    if not results or not results.targets:
        return None
    targets, gain = list(results.targets.values()), results.gain
    gains = [scores.miou if scores else None for scores in map(gain.targets.get, results.targets)] if gain else []
    names = dict.fromkeys(name for target in targets for name in target.iou)
    return {
        "targets": results.titles,
        "classes": [_row(name, (target.iou.get(name) for target in targets)) | {"colour": colours.get(name)} for name in names],
        "means": [_row(kind_label(kind), (target.means.get(kind) for target in targets)) for kind in results.kinds()],
        "floors": [_row(name, (floor.get(target) for target in results.targets)) for name, floor in (results.floors or {}).items()],
        "gain": {"name": baseline_name(results), "values": [*gains, gain.mean_miou]} if gain else None,
        "about": [
            {"name": name} | {key: target.conditions.get(key) for key in ("images", "layout", "view")}
            for name, target in results.targets.items()
        ],
    }


def _row(name: str, values: Iterable[float | None]) -> dict[str, Any]:
    values = list(values)
    return {"name": name, "values": values, "mean": known_mean(values)}
