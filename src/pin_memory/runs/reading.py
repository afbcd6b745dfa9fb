"""What a run folder holds, as plain values; whatever is not there is left out."""

import csv
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.callbacks.memory_trace import read_trace
from pin_memory.callbacks.panels import TILES
from pin_memory.runs.comparison_runs import SETTINGS
from pin_memory.runs.results import RESULTS, read_results
from pin_memory.utils.documents import read_json, read_yaml
from pin_memory.utils.errors import ConfigurationError, DataError

log = logging.getLogger(__name__)

Series = dict[str, tuple[list[int], list[float]]]
"""Steps and values by name of a metric."""


@dataclass(frozen=True)
class RunFolder:
    """The readable parts of a run folder.

    Attributes:
        path: The folder, absolute.
        results: `results.json`; empty where the run was not judged.
        config: The settings; of an evaluation those of the run that was judged, with interpolations.
        evaluation: Whether it is the folder of an evaluation.
        overrides: What was typed behind the command.
        choices: Option chosen of each configuration group.
        provenance: `provenance.json`.
        metrics: `metrics.csv` by column.
        trace: Iterations `(T,)` and memory items `(T, K, C)`; None without memory.
        classes: Names of the classes, as far as they are known.
        palette: Their colours, RGB; empty if they are not known.
        panels: Entries of `tiles/index.json`: target, name, wrong, and the files of image, truth and prediction.
        unread: Files that are there and cannot be read, with the reason.
    """

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    evaluation: bool = False
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: Series = field(default_factory=dict)
    trace: tuple[np.ndarray, np.ndarray] | None = None
    classes: list[str] = field(default_factory=list)
    palette: list[list[int]] = field(default_factory=list)
    panels: list[dict[str, Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def stand_in(self) -> bool:
        """Whether the scenes were drawn: said by the results, else by the settings."""
        data = self.config.get("data")
        drawn = isinstance(data, dict) and bool(data.get("stand_in"))
        return bool(self.results.get("stand_in", drawn))


def read_run_folder(run: str | Path) -> RunFolder:
    """Read a run folder of `train` or `evaluate`.

    Raises:
        DataError: There is no folder, or nothing in it that a report could show.
    """
    path = Path(run).expanduser().resolve()
    if not path.is_dir():
        raise DataError(f"run={run}: no such folder (looked for {path}). Give a run folder, runs/<experiment>/<time>.")
    unread: list[str] = []
    results = _results(path / RESULTS, unread)
    metrics = _metrics(path / "metrics.csv", unread)
    if not results and not metrics:
        reasons = "".join(f" Could not be read: {reason}" for reason in unread)
        raise DataError(
            f"run={run}: found neither results.json nor metrics.csv in {path}. Give a run folder, runs/<experiment>/<time>.{reasons}"
        )
    hydra = path / ".hydra"
    judged = _yaml(path / SETTINGS, unread)
    config = judged or _yaml(path / "config.yaml", unread) or _yaml(hydra / "config.yaml", unread)
    overrides = _yaml(hydra / "overrides.yaml", unread)
    index = _index(path / TILES / "index.json", unread)
    named = {name: None for target in results.get("targets", {}).values() for name in target.get("iou", {})}
    return RunFolder(
        path=path, results=results, config=config if isinstance(config, dict) else {}, evaluation=bool(judged),
        overrides=[str(entry) for entry in overrides] if isinstance(overrides, list) else [],
        choices=_choices(_yaml(hydra / "hydra.yaml", unread)), provenance=_json(path / "provenance.json", unread),
        metrics=metrics, trace=_trace(path, unread), classes=index.get("classes") or list(named),
        palette=index.get("palette", []), panels=index.get("panels", []), unread=unread,
    )  # fmt: skip


def _json(path: Path, unread: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        unread.append(f"{path.name}: {error}")
        return {}
    return content if isinstance(content, dict) else {}


def _results(path: Path, unread: list[str]) -> dict[str, Any]:
    """`results.json`, if it is one of this library."""
    try:
        return read_results(path) if path.is_file() else {}
    except ConfigurationError as error:
        unread.append(str(error))
        return {}


def _index(path: Path, unread: list[str]) -> dict[str, Any]:
    """The list of tiles with the classes, in the types that the page relies on."""
    index = _json(path, unread)
    try:
        return {
            "classes": [str(name) for name in index.get("classes", [])],
            "palette": [[int(value) for value in (red, green, blue)] for red, green, blue in index.get("palette", [])],
            "panels": [
                {key: str(entry[key]) for key in ("target", "name", "image", "truth", "prediction")}
                | {"wrong": _number(entry.get("wrong"))}
                for entry in index.get("panels", [])
            ],
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        unread.append(f"{path.name}: not as this library writes it ({error})")
        return {}


def _yaml(path: Path, unread: list[str]) -> Any:
    """Plain containers, interpolations as they are written; safe loading runs no code."""
    if not path.is_file():
        return {}
    try:
        return read_yaml(path) or {}
    except (OSError, ValueError) as error:
        unread.append(f"{path.name}: {error}")
        return {}


def _choices(hydra: Any) -> dict[str, str]:
    """The chosen options without Hydra's own groups."""
    try:
        chosen = hydra["hydra"]["runtime"]["choices"]
    except (KeyError, TypeError):
        return {}
    return {str(group): str(option) for group, option in sorted(chosen.items()) if option and not str(group).startswith("hydra")}


def _metrics(path: Path, unread: list[str]) -> Series:
    """The columns of the CSV file without their empty cells; a row cut short by a crash loses only its last cells."""
    series: Series = {}
    if not path.is_file():
        return series
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                _take_row(row, series)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        unread.append(f"{path.name}: {error}")
    return series


def _take_row(row: dict[Any, Any], series: Series) -> None:
    """Add the cells of a row to their columns."""
    step = _number(row.get("step"))
    if step is None or not np.isfinite(step):
        return
    for name, cell in row.items():
        value = _number(cell) if name not in ("step", "epoch", None) else None
        if value is not None:
            steps, values = series.setdefault(str(name), ([], []))
            while steps and steps[-1] > step:  # a run that was cut off went on from a checkpoint before its last rows
                del steps[-1], values[-1]
            steps.append(int(step) + 1)  # the file counts from 0
            values.append(value)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _trace(path: Path, unread: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        found = read_trace(path)
    except DataError as error:
        unread.append(str(error))
        return None
    return found if found is not None and len(found[0]) else None
