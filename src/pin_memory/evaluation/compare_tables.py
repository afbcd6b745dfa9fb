"""A comparison as tables: one for the screen, and files for papers, spreadsheets and programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pin_memory.evaluation.compared_runs import FACTS
from pin_memory.evaluation.report import write_comparison_report
from pin_memory.evaluation.rows import scores_by_name, shown_facts
from pin_memory.runs.results import kind_label, kinds, write_json
from pin_memory.utils.files import report_write_errors, write_text
from pin_memory.utils.tables import FORMATS as TABLE_FORMATS
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table, check_formats

FORMATS = {
    "markdown": "comparison.md", "csv": "comparison.csv", "latex": "comparison.tex", "json": "comparison.json", "html": "report.html"
}  # fmt: skip
"""Names of the files by format."""


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """One row per group of runs, one column per target: mIoU, the further means, and the gains."""
    rows, targets = comparison["rows"], comparison["targets"]
    facts = shown_facts(rows) + (["settings"] if any(row["settings"] for row in rows) else [])
    facts = facts if comparison["over_seeds"] else ["label", *facts]
    gained = [row for row in rows if row["gain"] and any(row["gain"]["targets"].values())]
    sections: list[list[list[Cell]]] = []
    for kind in kinds(target for row in rows for target in row["targets"].values()):
        label, columns = kind_label(kind), (*targets, None)
        sections.append([[label, *_names(row, facts), *(_score(row, target, kind) for target in columns)] for row in rows])
        label = f"gain, {label}"
        sections.append([[label, *_names(row, facts), *(_score(row["gain"], target, kind, True) for target in columns)] for row in gained])
    sections = [section for section in sections if section]
    head = ["score", *facts, "seeds", *(comparison["titles"][target] for target in targets), "mean"]
    if len(sections) == 1:
        head, sections = head[1:], [[row[1:] for row in section] for section in sections]
    return Table(_caption(comparison, facts), head, sections, labels=head.index("seeds"))


def class_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """One table per target: the IoU of each class, one column per group of runs."""
    tables = []
    for target in comparison["targets"]:
        shown = [row for row in comparison["rows"] if target in row["targets"]]
        gained = [row for row in shown if scores_by_name(row["gain"], target)]
        rows: list[list[Cell]] = [
            [name, *(_score(row, target, name) for row in shown), *(_score(row["gain"], target, name, signed=True) for row in gained)]
            for name in comparison["classes"]
        ]
        head = ["IoU in %", *(row["label"] for row in shown), *(f"gain, {row['label']}" for row in gained)]
        note = [STAND_IN_NOTE] if comparison["stand_in"] else []
        tables.append(Table([f"target     {comparison['titles'][target]}", *note], head, [rows]))
    return tables


def write_comparison(comparison: Mapping[str, Any], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a comparison once for each of the formats, and return the files."""
    written = []
    for name in check_formats(formats, "formats", tuple(FORMATS)):
        path = folder / FORMATS[name]
        if name == "html":
            write_comparison_report(comparison, path)
        elif name == "json":
            write_json(path, comparison)
        else:
            tables = [comparison_table(comparison), *class_tables(comparison)]
            text = long_csv(comparison) if name == "csv" else "\n".join(TABLE_FORMATS[name][1](table) for table in tables)
            with report_write_errors(path):
                write_text(path, text)
        written.append(path)
    return written


def long_csv(comparison: Mapping[str, Any]) -> str:
    """A line per row, target and score, in percent with four decimals: mean, standard deviation, number of seeds; the same of the gain."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    numbers = ["mean", "std", "n", "gain", "gain_std", "gain_n"]
    writer.writerow(["label", *FACTS, "settings", "seeds", "stand_in", "baseline", "target", "score", *numbers])
    for row in comparison["rows"]:
        gain = row["gain"] or {}
        about = [row["label"], *(row[fact] for fact in FACTS), _settings(row), " ".join(row["seeds"])]
        named = [*about, comparison["stand_in"], gain.get("baseline", "")]
        for target in (*row["targets"], None):
            gained = scores_by_name(row["gain"], target)
            for score, value in scores_by_name(row, target).items():
                writer.writerow([*named, target or "mean", score, *_numbers(value), *_numbers(gained.get(score))])
    return buffer.getvalue()


def _names(row: Mapping[str, Any], facts: Sequence[str]) -> list[str]:
    """A row's own names, and its seeds."""
    seeds = f"{len(row['seeds'])} ({', '.join(row['seeds'])})"
    return [*(_settings(row) if fact == "settings" else row[fact] for fact in facts), seeds]


def _settings(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in row["settings"].items())


def _score(row: Mapping[str, Any] | None, target: str | None, name: str, signed: bool = False) -> Score:
    score = scores_by_name(row, target).get(name)
    return Score(score["mean"], score["std"], signed) if score else Score(None)


def _numbers(score: Mapping[str, Any] | None) -> list[str]:
    if not score:
        return ["", "", ""]
    return [Score(score["mean"]).exact(), Score(score["std"]).exact(), str(score["n"])]


def _caption(comparison: Mapping[str, Any], facts: Sequence[str]) -> list[str]:
    """What all rows have in common, and what to know before comparing them."""
    rows, baseline = comparison["rows"], comparison["baseline"]
    several = any(len(row["seeds"]) > 1 for row in rows)
    return [
        *(f"{fact:<10} {rows[0][fact]}" for fact in FACTS if fact not in facts and rows[0][fact]),
        "mIoU in %: mean ± standard deviation over seeds" if several else "mIoU in %, one seed each",
        *([f"gain over  {baseline}, mean ± standard deviation of the differences of equal seeds"] if baseline else []),
        *(f"note: {note}" for note in comparison["notes"]),
        *([STAND_IN_NOTE] if comparison["stand_in"] else []),
    ]
