"""The report of a comparison: rows of runs over seeds, by target and by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pin_memory.evaluation.compared_runs import FACTS
from pin_memory.evaluation.report.page import write_page
from pin_memory.evaluation.rows import name_rank, scores_by_name, shown_facts
from pin_memory.runs.results import kind_label, kinds
from pin_memory.utils.tables import STAND_IN_NOTE, Score, Table


def write_comparison_report(comparison: Mapping[str, Any], path: str | Path, further: Table | None = None) -> Path:
    """Write a comparison as one self-contained HTML file.

    Args:
        comparison: What `pin_memory.evaluation.compare.compare` returns.
        path: The file to write.
        further: What else there is to know of the rows (`compare_tables.further_table`).

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    rows, first = _rows(comparison), comparison["rows"][0]
    shared = {fact: str(first[fact]) for fact in FACTS if first[fact] and all(row[fact] == first[fact] for row in comparison["rows"])}
    path = Path(path).expanduser()
    write_page(
        path, "comparison.html.j2", title="Comparison", note=STAND_IN_NOTE if comparison["stand_in"] else None, comparison=comparison,
        rows=rows, shared=shared, scores=_scores(comparison, rows), classes=_classes(comparison, rows), further=_further(further),
    )  # fmt: skip
    return path


def _rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, seeds and folders of each row; the name is what tells it from the others."""
    rows, baseline = comparison["rows"], comparison["baseline"]
    telling = [fact for fact in shown_facts(rows) if fact != "method"]
    return [
        {
            "name": row["method"] or row["label"], "colour": number % 8, "seeds": row["seeds"], "folders": row["folders"],
            "about": [*([row["label"]] if not comparison["over_seeds"] else []), *(row[fact] for fact in telling if row[fact]),
                      *(f"{key}={value}" for key, value in row["settings"].items())],
            "is_baseline": bool(baseline) and row["gain"] is None and name_rank(row, row["label"], row["folders"], baseline) is not None,
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip


def _scores(comparison: Mapping[str, Any], named: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each kind of mean a section: the rows' scores by target and over them, and their gains."""
    rows, targets = comparison["rows"], comparison["targets"]
    return [
        {
            "name": kind_label(kind),
            "rows": [
                {
                    "row": name,
                    "cells": [_cell(row, target, kind) for target in (*targets, None)],
                }
                for row, name in zip(rows, named, strict=True)
            ],
        }
        for kind in kinds(target for row in rows for target in row["targets"].values())
    ]


def _further(table: Table | None) -> dict[str, Any] | None:
    """The columns of the table behind those that name the rows, as text; None without any."""
    if table is None or not table.sections:
        return None
    cells = [[cell.shown() if isinstance(cell, Score) else cell for cell in row[table.labels :]] for row in table.sections[0]]
    return {"head": table.head[table.labels :], "cells": cells, "caption": table.caption}


def _classes(comparison: Mapping[str, Any], named: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By target: the rows that were evaluated on it, and the IoU of each class that the target has in them."""
    tables = {}
    for target in comparison["targets"]:
        evaluated = [(row, name) for row, name in zip(comparison["rows"], named, strict=True) if target in row["targets"]]
        classes = [{"name": name, "cells": [_cell(row, target, name) for row, _ in evaluated]} for name in comparison["classes"]]
        known = [entry for entry in classes if any(cell["value"] is not None for cell in entry["cells"])]
        tables[target] = {"rows": [name for _, name in evaluated], "classes": known}
    return tables


def _cell(row: Mapping[str, Any], target: str | None, name: str) -> dict[str, Any]:
    """A score with its spread, the values by seed, and the gain as text; its sign is empty where it rounds to nothing."""
    score, gain = scores_by_name(row, target).get(name, {}), scores_by_name(row["gain"], target).get(name, {})
    percent = round(100 * (gain.get("mean") or 0), 1)
    return {
        "value": score.get("mean"),
        "std": score.get("std"),
        "gain": None if gain.get("mean") is None else Score(gain["mean"], gain["std"], signed=True).shown(),
        "sign": "up" if percent > 0 else "down" if percent < 0 else "",
        "seeds": [value for value in score.get("values", {}).values() if value is not None] if score.get("n", 0) > 1 else [],
    }
