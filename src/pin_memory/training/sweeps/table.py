"""The table of a sweep: as text, Markdown and CSV. Each function takes what `read_sweep` returns."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pin_memory.training.sweeps.results import as_typed
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table

Sweep = Mapping[str, Any]


def as_text(sweep: Sweep) -> str:
    """The table for the screen."""
    tables = [table.text() for table in (_job_table(sweep), _seed_table(sweep)) if table.sections]
    return "\n\n".join([_headline(sweep), *tables, "\n".join([*_verdict(sweep), *_missing(sweep)])]).rstrip()


def as_markdown(sweep: Sweep) -> str:
    """The same as a page."""
    tables = [table.markdown() for table in (_job_table(sweep), _seed_table(sweep)) if table.sections]
    return "\n\n".join([f"# {_headline(sweep)}", *tables, *_verdict(sweep), *(f"- {line}" for line in _missing(sweep))]) + "\n"


def as_csv(sweep: Sweep) -> str:
    """A row for each job, scores as fractions; failed ones, too."""
    sources = _sources(sweep)
    head = ["job", "status", *sweep["swept"], "objective", *(f"val/miou_{name}" for name in sources), "seconds", "stand_in", "error"]
    rows: list[list[Cell]] = []
    for job in sweep["jobs"]:
        scores = [job["objective"], *(job["source_validation"].get(name) for name in sources), job["seconds"]]
        cells = [job["name"], job["status"], *job["settings"].values(), *scores, job["stand_in"], job["error"]]
        rows.append(["" if cell is None else str(cell) for cell in cells])
    return Table([], head, [rows]).csv()


def _headline(sweep: Sweep) -> str:
    """The folder, and how many jobs came to which end."""
    counts = Counter(job["status"] for job in sweep["jobs"])
    skipped = sum(job["outcome"] == "skipped" for job in sweep["jobs"])
    parts = [f"{counts[status]} {status}" for status in ("finished", "failed", "unfinished") if counts[status]]
    if skipped:
        parts[0] += f" ({skipped} of them before this start)"
    return f"Sweep {sweep['folder']}: {', '.join(parts)}"


def _job_table(sweep: Sweep) -> Table:
    """A row for each finished job, the best first."""
    sources = _sources(sweep)
    caption = [f"Objective in %: {sweep['objective']}. No target decides anything.", *([STAND_IN_NOTE] if sweep["stand_in"] else [])]
    head = ["", *(sweep["short_names"][key] for key in sweep["swept"]), "job", "objective", *sources]
    rows: list[list[Cell]] = []
    for job in (job for job in sweep["jobs"] if job["status"] == "finished"):
        scores = [Score(job["objective"]), *(Score(job["source_validation"].get(name)) for name in sources)]
        rows.append([str(len(rows) + 1), *(_short(value) for value in job["settings"].values()), job["name"], *scores])
    return Table(caption, head, [rows] if rows else [], labels=len(sweep["swept"]) + 2)


def _seed_table(sweep: Sweep) -> Table:
    """A row for each setting, where there are several seeds; without rows otherwise."""
    keys = [key for key in sweep["swept"] if key != "seed"]
    head = [*(sweep["short_names"][key] for key in keys), "objective", "seeds", *(["compared"] if sweep["notes"] else [])]
    rows: list[list[Cell]] = []
    if len(keys) < len(sweep["swept"]) and any(len(row["jobs"]) > 1 for row in sweep["settings"]):
        for row in sweep["settings"]:
            compared = [Score(row["compared"])] if sweep["notes"] else []
            settings = (_short(row["settings"].get(key)) for key in keys)
            rows.append([*settings, Score(row["mean"], row["std"]), str(len(row["jobs"])), *compared])
    return Table(["Over the seeds:"], head, [rows] if rows else [], labels=len(keys))


def _verdict(sweep: Sweep) -> list[str]:
    """The best setting, as it is typed, and notes on the comparison."""
    if not (best := sweep["best"]):
        return ["Only the seed differs: there is no setting to choose."] if sweep["swept"] == ["seed"] else sweep["notes"]
    where = f"{len(best['jobs'])} seeds" if len(best["jobs"]) > 1 else f"job {best['jobs'][0]}"
    return [f"Best setting: {as_typed(best['settings'])} ({Score(best['mean'], best['std']).shown()}; {where})", *sweep["notes"]]


def _missing(sweep: Sweep) -> list[str]:
    """A line with the reason for each job without a score, or whose settings are not those that were asked for."""
    lines = []
    for job in sweep["jobs"]:
        if job["status"] == "failed" or job["outcome"] == "failed":
            lines.append(f"Failed: {job['name']} ({(job['error'] or 'before this start; see its log.txt').splitlines()[0]})")
        elif job["status"] != "finished":
            lines.append(f"Unfinished: {job['name']} (the same command resumes it)")
    return lines


def _sources(sweep: Sweep) -> list[str]:
    """The names of all sources that a job was validated on."""
    return list(dict.fromkeys(name for job in sweep["jobs"] for name in job["source_validation"]))


def _short(value: str | None) -> str:
    """A setting's value; searches propose numbers of 17 digits."""
    if value is None:
        return "-"
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value
