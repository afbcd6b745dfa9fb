"""The report of one run."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pin_memory.evaluation.report.charts import line_chart
from pin_memory.evaluation.report.memory import memory_section
from pin_memory.evaluation.report.page import MAX_BYTES, render, write_page
from pin_memory.evaluation.report.pictures import LAYERS, QUALITIES, panels
from pin_memory.evaluation.report.scores import cards, score_tables
from pin_memory.runs.reading import RunFolder, Series, read_run_folder
from pin_memory.utils.errors import UserError
from pin_memory.utils.tables import STAND_IN_NOTE

log = logging.getLogger(__name__)

REPORT = "report.html"
"""Name of the report in a run folder."""
_SETTINGS = {
    "iterations": "trainer.max_steps", "precision": "trainer.precision", "batch size per domain": "loading.batch_size",
    "crop": "augmentation.crop_size", "learning rate": "optimizer.lr", "weight decay": "optimizer.weight_decay",
    "inner learning rate": "method.inner_lr", "first order": "method.first_order", "batch norm in training": "method.train_statistics",
    "pretrained": "network.backbone.pretrained", "memory channels": "network.memory.channels",
    "momentum of the memory": "network.memory.momentum",
    "selection": "selection", "seed": "seed",
}  # fmt: skip
_TOTALS = ("loss/inner", "loss/outer", "loss/total", "loss/loss")


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run folder: settings, curves, scores, panels and memory in one file of at most 15 MB.

    Args:
        run: The folder of a training or an evaluation.
        output: The file to write; `<run>/report.html` by default.

    Returns:
        The file.

    Raises:
        DataError: There is no such folder, or nothing in it to report.
        OutputError: The file cannot be written.
    """
    folder = read_run_folder(run)
    path = Path(output).expanduser() if output else folder.path / REPORT
    write_page(path, _fitting(folder))
    return path


def try_report(run: str | Path) -> Path | None:
    """`write_report` at the end of a run: the run has its results by then, so what goes wrong is told and passed over.

    Returns:
        The report, or None where there is none; the reason is in the log, with its traceback if it is a defect.
    """
    try:
        return write_report(run)
    except (UserError, OSError) as error:
        log.warning("No report: %s The results are not concerned; `python -m pin_memory.report run=%s` tries again.", error, run)
    except Exception:
        log.exception("No report, because of a defect in writing it. The results are not concerned.")
    return None


def _fitting(folder: RunFolder) -> str:
    """The page with the best pictures that leave it small enough."""
    values = _values(folder)
    html = ""
    for number, quality in enumerate(QUALITIES):
        shown = panels(folder, quality)
        html = render("run.html.j2", **values, panels=shown, left_out=len(folder.panels) - sum(map(len, shown.values())))
        if len(html.encode("utf-8")) <= MAX_BYTES:
            if number:
                log.info("The report shows smaller or fewer pictures, to stay below %d MB.", MAX_BYTES // 1_000_000)
            break
    return html


def _values(folder: RunFolder) -> dict[str, Any]:
    """All that the template shows besides the panels."""
    results = folder.results
    return {
        "kind": "Report of an evaluation" if folder.evaluation else "Report of a run", "title": _title(folder),
        "note": STAND_IN_NOTE if folder.stand_in else None,
        "run": folder, "results": results, "cards": cards(results, folder.metrics),
        "tables": score_tables(results, _colours(folder)),
        "charts": [chart for chart in _charts(folder.metrics) if chart],
        "memory": memory_section(folder), "layers": LAYERS, "colours": _colours(folder),
        "settings": _settings(folder), "yaml": yaml.safe_dump(folder.config, sort_keys=False, allow_unicode=True) if folder.config else "",
    }  # fmt: skip


def _title(folder: RunFolder) -> str:
    """The experiment and the folder, which is named by its date."""
    experiment = str(folder.config.get("name") or folder.path.parent.name)
    return experiment if experiment == folder.path.name else f"{experiment} {folder.path.name}"


def _colours(folder: RunFolder) -> dict[str, str]:
    """Colour of each class; empty where the run says none."""
    return {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in zip(folder.classes, folder.palette, strict=False)}


def _charts(metrics: Series) -> list[dict[str, Any] | None]:
    """Losses, source validation, learning rates, times and norms, as far as they were logged."""
    losses = _group(metrics, "loss/")
    terms = [label for label in losses if f"loss/{label}" not in _TOTALS]
    validation = {name.removeprefix("val/miou_"): _in_percent(metrics[name]) for name in metrics if name.startswith("val/miou_")}
    if "val/miou" in metrics:
        validation = {"mean": _in_percent(metrics["val/miou"])} | validation
    rates = {label: metrics[name] for name, label in (("lr", "outer step"), ("inner_lr", "inner step")) if name in metrics}
    return [
        line_chart("loss", "Loss", losses, hidden=terms if len(terms) < len(losses) else ()),
        line_chart("validation", "Source validation", validation, unit="mIoU in %"),
        line_chart("rate", "Learning rate", rates),
        line_chart("times", "Time of an iteration", _group(metrics, "time/"), unit="s"),
        line_chart("norms", "Norm of the gradients", _group(metrics, "grad_norm/")),
        line_chart("step", "Norm of the step to the fast weights", _group(metrics, "fast_weights/step_norm", "inner step")),
        line_chart("weights", "Norm of the fast weights", _group(metrics, "fast_weights/norm", "all weights")),
    ]


def _group(metrics: Series, prefix: str, label: str = "") -> Series:
    """Metrics of a prefix under shorter labels, totals first."""
    names = sorted((name for name in metrics if name.startswith(prefix)), key=lambda name: name not in _TOTALS)
    return {label + name.removeprefix(prefix).replace("_", " "): metrics[name] for name in names}


def _in_percent(series: tuple[list[int], list[float]]) -> tuple[list[int], list[float]]:
    return series[0], [100 * value for value in series[1]]


def _settings(folder: RunFolder) -> list[tuple[str, str]]:
    """The settings that readers look for first, with their values."""
    results = folder.results
    rows = [(key, results.get(key)) for key in ("method", "network", "sources", "protocol", "statistics", "selection", "checkpoint")]
    known = {key for key, value in rows if value}
    rows += [(label, _at(folder.config, path)) for label, path in _SETTINGS.items() if label not in known]
    provenance = folder.provenance
    git = provenance.get("git") or {}
    rows += [("revision", results.get("revision") or git.get("revision")), ("date", provenance.get("date"))]
    rows += [("Python", provenance.get("python")), *(provenance.get("packages") or {}).items()]
    rows += [("accelerators", provenance.get("accelerators") or ("CPU" if provenance else None))]
    return [(label, _text(value)) for label, value in rows if value not in (None, "", []) and not str(value).startswith("${")]


def _at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none; random weights are a value."""
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return "none (random weights)" if value is None and path.endswith("pretrained") else value


def _text(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)
