"""The table of a sweep: as text, Markdown and CSV."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pin_memory.training.sweeps.sweep_results import words_of


def as_text(sweep: dict[str, Any]) -> str:
    """The table for the screen.

    Args:
        sweep: What `pin_memory.training.sweeps.summary.read_sweep` returns.
    """
    lines = [_headline(sweep), f"Objective in %: {sweep['objective']}. No target decides anything.", *_note(sweep)]
    rows = _rows(sweep)
    if len(rows) > 1:
        lines += ["", *_aligned(rows)]
    if means := _mean_rows(sweep):
        lines += ["", "Over the seeds:", *_aligned(means)]
    lines += ["", *_verdict(sweep)]
    return "\n".join([*lines, *(f"{'Failed' if failed else 'Unfinished'}: {text}" for failed, text in _missing(sweep))]).rstrip()


def as_markdown(sweep: dict[str, Any]) -> str:
    """The same as a page."""
    parts = [
        f"# {_headline(sweep)}",
        f"Objective in %: {sweep['objective']}. No target decides anything.",
        *(f"**{note}**" for note in _note(sweep)),
    ]
    if len(rows := _rows(sweep)) > 1:
        parts.append(_markdown(rows))
    if means := _mean_rows(sweep):
        parts += ["Over the seeds:", _markdown(means)]
    parts += _verdict(sweep)
    parts += [f"- {'failed' if failed else 'unfinished'}: {text}" for failed, text in _missing(sweep)]
    return "\n\n".join(parts) + "\n"


def as_csv(sweep: dict[str, Any]) -> str:
    """A row for each job, scores as fractions; failed ones, too."""
    sources = _sources(sweep)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["job", "status", *sweep["swept"], "objective", *(f"val/miou_{name}" for name in sources), "seconds", "stand_in", "error"]
    )
    for job in sweep["jobs"]:
        scores = [job["objective"], *(job["source_validation"].get(name) for name in sources), job["seconds"]]
        writer.writerow([job["name"], job["status"], *job["settings"].values(), *scores, job["stand_in"], job["error"]])
    return buffer.getvalue()


def _headline(sweep: dict[str, Any]) -> str:
    counts = Counter(job["status"] for job in sweep["jobs"])
    skipped = sum(job["outcome"] == "skipped" for job in sweep["jobs"])
    words = [f"{counts[status]} {status}" for status in ("finished", "failed", "unfinished") if counts[status]]
    if skipped:
        words[0] += f" ({skipped} of them before this start)"
    return f"Sweep {sweep['folder']}: {', '.join(words)}"


def _note(sweep: dict[str, Any]) -> list[str]:
    if not sweep["stand_in"]:
        return []
    from pin_memory.utils.tables import STAND_IN_NOTE  # imports torch

    return [STAND_IN_NOTE]


def _rows(sweep: dict[str, Any]) -> list[list[str]]:
    """Head and a row for each finished job."""
    sources = _sources(sweep)
    head = ["", *(sweep["short_names"][key] for key in sweep["swept"]), "objective", *sources, "job"]
    rows = []
    for place, job in enumerate((job for job in sweep["jobs"] if job["status"] == "finished"), start=1):
        scores = [_percent(job["objective"]), *(_percent(job["source_validation"].get(name)) for name in sources)]
        rows.append([str(place), *(_short(value) for value in job["settings"].values()), *scores, job["name"]])
    return [head, *rows]


def _mean_rows(sweep: dict[str, Any]) -> list[list[str]]:
    """Head and a row for each setting, where there are several seeds; else nothing."""
    if "seed" not in sweep["swept"] or all(len(row["jobs"]) < 2 for row in sweep["settings"]):
        return []
    keys = [key for key in sweep["swept"] if key != "seed"]
    rows = [
        [*(_short(row["settings"].get(key)) for key in keys), _mean(row), str(len(row["jobs"])), _percent(row["compared"])]
        for row in sweep["settings"]
    ]  # fmt: skip
    table = [[*(sweep["short_names"][key] for key in keys), "objective", "seeds", "compared"], *rows]
    return table if sweep["notes"] else [row[:-1] for row in table]


def _verdict(sweep: dict[str, Any]) -> list[str]:
    """The best setting, in the words of the command line."""
    if not (best := sweep["best"]):
        return ["Only the seed differs: there is no setting to choose."] if sweep["swept"] == ["seed"] else sweep["notes"]
    where = f"{len(best['jobs'])} seeds" if len(best["jobs"]) > 1 else f"job {best['jobs'][0]}"
    return [f"Best setting: {words_of(best['settings'])} ({_mean(best)}; {where})", *sweep["notes"]]


def _missing(sweep: dict[str, Any]) -> list[tuple[bool, str]]:
    """Whether it failed, and name and reason, of each job without a score."""
    found = []
    for job in sweep["jobs"]:
        if job["status"] != "finished":
            failed = job["status"] == "failed"
            reason = (
                job["error"] or ("before this start; see its log.txt" if failed else "the same command goes on with it")
            ).splitlines()[0]
            found.append((failed, f"{job['name']} ({reason})"))
        elif job["outcome"] == "failed":  # its results stand, but they are not those that this start has asked for
            found.append((True, f"{job['name']} ({job['error']})"))
    return found


def _sources(sweep: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for job in sweep["jobs"] for name in job["source_validation"]))


def _mean(row: dict[str, Any]) -> str:
    return _percent(row["mean"]) + (f" ± {_percent(row['std'])}" if row["std"] is not None else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _short(value: str | None) -> str:
    """A setting's value; searches propose numbers of 17 digits."""
    if value is None:
        return "-"
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
