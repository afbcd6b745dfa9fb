"""A comparison as tables: one for the screen, and files for papers, spreadsheets and programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pin_memory.evaluation.compared_runs import FACTS
from pin_memory.evaluation.report import write_comparison_report
from pin_memory.evaluation.rows import scores_by_name, shown_facts
from pin_memory.runs.results import CONDITIONS, kind_label, kinds, write_json
from pin_memory.utils.files import report_write_errors, write_text
from pin_memory.utils.tables import FORMATS as TABLE_FORMATS
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table, check_formats, mark_best, percent

FORMATS = {
    "markdown": "comparison.md", "csv": "comparison.csv", "latex": "comparison.tex", "json": "comparison.json", "html": "report.html"
}  # fmt: skip
"""Names of the files by format."""


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """One row per group of runs, one column per target: mIoU, the further means, and the gains."""
    rows, targets = comparison["rows"], comparison["targets"]
    facts = _shown(comparison)
    gained = [row for row in rows if row["gain"] and any(row["gain"]["targets"].values())]
    sections: list[list[list[Cell]]] = []
    for kind in kinds(target for row in rows for target in row["targets"].values()):
        label, columns = kind_label(kind), (*targets, None)
        scores = zip(*(_scores(rows, target, kind) for target in columns), strict=True)
        sections.append([[label, *_names(row, facts), *found] for row, found in zip(rows, scores, strict=True)])
        label = f"gain, {label}"
        sections.append([[label, *_names(row, facts), *(_score(row["gain"], target, kind, True) for target in columns)] for row in gained])
    sections = [section for section in sections if section]
    head = ["score", *facts, "seeds", *(comparison["titles"][target] for target in targets), "mean"]
    if len(sections) == 1:
        head, sections = head[1:], [[row[1:] for row in section] for section in sections]
    return Table(_caption(comparison, facts), head, sections, labels=head.index("seeds"), name="comparison")


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """The table of the scores, and what else there is to know of each row where it is on record."""
    further = further_table(comparison)
    return [comparison_table(comparison), *([further] if further.sections else [])]


def further_table(comparison: Mapping[str, Any]) -> Table:
    """Beside the targets: the sources' validation, the gain seed by seed and its test, time and memory of training; known columns alone."""
    rows = comparison["rows"]
    facts = _shown(comparison)
    columns: dict[str, Sequence[Cell]] = {
        "sources": [Score(row["source_validation"]["mean"], row["source_validation"]["std"]) for row in rows],
        "gain, sources": [_spread((row["gain"] or {}).get("source_validation")) for row in rows],
        "gain, mean, by seed": [_by_seed((row["gain"] or {}).get("mean_miou")) for row in rows],
        "better": [_better((row["gain"] or {}).get("test")) for row in rows],
        "p": [_probability((row["gain"] or {}).get("test")) for row in rows],
        "images better": [_better((row["gain"] or {}).get("image_test")) for row in rows],
        "p, images": [_probability((row["gain"] or {}).get("image_test")) for row in rows],
        "s a step": [f"{row['step_seconds']:.3g}" if row.get("step_seconds") else "-" for row in rows],
        "GiB": [f"{row['peak_bytes'] / 2**30:.2f}" if row.get("peak_bytes") else "-" for row in rows],
    }  # fmt: skip
    known = {name: cells for name, cells in columns.items() if any(_is_known(cell) for cell in cells)}
    cells = [[*_names(row, facts), *(column[number] for column in known.values())] for number, row in enumerate(rows)] if known else []
    caption = ["sources: mIoU in % of their validation splits, mean over them", *([STAND_IN_NOTE] if comparison["stand_in"] else [])]
    if "better" in known:
        caption.insert(
            1,
            "better, p: gains on each target with each seed above 0, and Wilcoxon's signed-rank test of them (two-sided; they share images"
            " and seeds, so p is too small)",
        )
    if "images better" in known:
        caption.insert(2, "images better, p, images: the same of single images, means over the seeds (frames of one drive are alike)")
    return Table(caption, [*facts, "seeds", *known], [cells] if cells else [], labels=len(facts) + 1, name="comparison-further")


def _better(test: Mapping[str, Any] | None) -> str:
    return f"{test['better']} of {test['pairs']}" if test else "-"


def _probability(test: Mapping[str, Any] | None) -> str:
    p = test["p"] if test else None
    return "-" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}"


def class_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """One table per target: the IoU of each class, one column per group of runs."""
    tables = []
    for target in comparison["targets"]:
        shown = [row for row in comparison["rows"] if target in row["targets"]]
        gained = [row for row in shown if scores_by_name(row["gain"], target)]
        rows: list[list[Cell]] = [
            [name, *_scores(shown, target, name), *(_score(row["gain"], target, name, signed=True) for row in gained)]
            for name in comparison["classes"]
        ]
        head = ["IoU in %", *(row["label"] for row in shown), *(f"gain, {row['label']}" for row in gained)]
        note = [STAND_IN_NOTE] if comparison["stand_in"] else []
        caption = [f"target     {comparison['titles'][target]}", *note]
        tables.append(Table(caption, head, [rows], name=f"comparison-{target}"))
    return tables


def write_comparison(comparison: Mapping[str, Any], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a comparison once for each of the formats, and return the files."""
    written = []
    for name in check_formats(formats, "formats", tuple(FORMATS)):
        path = folder / FORMATS[name]
        if name == "html":
            write_comparison_report(comparison, path, further_table(comparison))
        elif name == "json":
            write_json(path, comparison)
        else:
            tables = [*comparison_tables(comparison), *class_tables(comparison)]
            text = long_csv(comparison) if name == "csv" else "\n".join(TABLE_FORMATS[name][1](table) for table in tables)
            with report_write_errors(path):
                write_text(path, text)
        written.append(path)
    return written


def long_csv(comparison: Mapping[str, Any]) -> str:
    """A line per row, target and score, fractions with six decimals: mean, standard deviation, number of seeds; the same of the gain."""
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
        writer.writerow([*named, "sources", "miou", *_numbers(row["source_validation"]), *_numbers(gain.get("source_validation"))])
    return buffer.getvalue()


def _shown(comparison: Mapping[str, Any]) -> list[str]:
    """What rows are named by: the facts in which they differ, and settings where there are such."""
    rows = comparison["rows"]
    facts = shown_facts(rows) + (["settings"] if any(row["settings"] for row in rows) else [])
    return facts if comparison["over_seeds"] else ["label", *facts]


def _names(row: Mapping[str, Any], facts: Sequence[str]) -> list[str]:
    """A row's own names, and its seeds."""
    seeds = f"{len(row['seeds'])} ({', '.join(row['seeds'])})"
    return [*(_settings(row) if fact == "settings" else row[fact] for fact in facts), seeds]


def _settings(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in row["settings"].items())


def _score(row: Mapping[str, Any] | None, target: str | None, name: str, signed: bool = False) -> Score:
    score = scores_by_name(row, target).get(name)
    return Score(score["mean"], score["std"], signed) if score else Score(None)


def _spread(score: Mapping[str, Any] | None) -> Score:
    """A difference with its deviation."""
    return Score(score["mean"], score["std"], signed=True) if score else Score(None)


def _by_seed(score: Mapping[str, Any] | None) -> str:
    """The differences in the order of the seeds: `+1.2, -0.3`; a dash without."""
    values = [value for value in (score or {}).get("values", {}).values() if value is not None]
    return ", ".join(percent(value, signed=True) for value in values) or "-"


def _is_known(cell: Cell) -> bool:
    return (cell.value is not None) if isinstance(cell, Score) else cell != "-"


def _scores(rows: Sequence[Mapping[str, Any]], target: str | None, name: str) -> list[Score]:
    """A score of all rows, the best one marked where all were measured in the same way."""
    scores = [_score(row, target, name) for row in rows]
    ways = {str([row["protocol"], *(_way(row, one) for one in (row["targets"] if target is None else [target]))]) for row in rows}
    return mark_best(scores) if len(ways) == 1 else scores


def _way(row: Mapping[str, Any], target: str) -> list[Any]:
    """What a score on a target depends on besides network and protocol."""
    return [target, *(row["targets"].get(target, {}).get(condition) for condition in CONDITIONS)]


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
