"""What Hydra asks for in a sweep: names of the jobs' folders, and the table at the end, as text, Markdown and CSV."""

import hashlib
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.training.sweeps.choice import as_typed
from pin_memory.training.sweeps.job import OUTCOMES
from pin_memory.training.sweeps.results import SWEPT, jobs_in, read_sweep, short_names, values_of
from pin_memory.utils.config import quoted
from pin_memory.utils.errors import DEFECT, ConfigurationError, OutputError
from pin_memory.utils.files import write_text
from pin_memory.utils.locking import exclusive
from pin_memory.utils.safe_load import read_json_or
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table

Sweep = Mapping[str, Any]  # what `read_sweep` returns
_PLAIN = re.compile(r"(?!(?:true|false|null|inf|nan)$)[a-z_][\w-]*", re.IGNORECASE | re.ASCII)  # what Hydra reads as text without quotes
_LONGEST = 120  # characters of a job's folder, half of what file systems take


class SweepSummary(Callback):
    """Prints and saves a table of the jobs when a sweep is over, and ends the command with the exit code of the first that failed."""

    _under_way: ClassVar["SweepSummary | None"] = None
    _held: ClassVar[ExitStack] = ExitStack()  # the lock of the folder; no part of an object, as launchers send that to their processes

    def __init__(self) -> None:
        self.folder = Path()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record which settings the sweep changes, for the names of the jobs, and forget the outcomes of an earlier start."""
        self.folder = Path(str(config.hydra.sweep.dir))
        given: list[str] = []
        with suppress(OmegaConfBaseException):  # which the sweeper meets again, and reports
            given = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
        # A setting of the sweep's file, too, to which this command gives a single value: the next one may give another.
        swept = [*read_json_or(self.folder / SWEPT, []), *swept_keys(given), *swept_keys(config.hydra.overrides.task)]
        with suppress(OSError):
            try:
                SweepSummary._held.enter_context(exclusive(self.folder))
            except OutputError as error:  # Hydra takes an exception of a callback for a warning, and continues
                print(f"Error: {error}", file=sys.stderr)
                sys.exit(error.exit_code)
        with suppress(OSError):  # the sweeper reports that the folder cannot be made
            shutil.rmtree(self.folder / OUTCOMES, ignore_errors=True)
            write_text(self.folder / SWEPT, json.dumps(list(dict.fromkeys(swept))) + "\n")
            SweepSummary._under_way = self

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the table; end the command with the exit code of the first job that failed, if one did."""
        sweep = self._show() or {"jobs": []}
        if failed := [job for job in sweep["jobs"] if job["outcome"] == "failed"]:
            sys.exit(int(failed[0].get("exit_code") or DEFECT))

    @classmethod
    def end_early(cls) -> None:
        """Show the table of a sweep that is ended by an error of the launcher or by Ctrl-C, if one is under way in this process."""
        if cls._under_way:
            cls._under_way._show()

    def _show(self) -> dict[str, Any] | None:
        """Print the table and write it to the folder of the sweep, unless that ended before its first job."""
        SweepSummary._under_way = None
        SweepSummary._held.close()
        if not jobs_in(self.folder):
            return None
        sweep = read_sweep(self.folder)
        print(f"\n{as_text(sweep)}\n", flush=True)
        files = {"sweep.json": json.dumps(sweep, indent=2) + "\n", "sweep.csv": as_csv(sweep), "sweep.md": as_markdown(sweep)}
        for name, text in files.items():
            write_text(self.folder / name, text)
            print(f"Table     {self.folder / name}")
        return sweep


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """The settings that overrides in Hydra's syntax (`seed=1,2,3`) give several values; a later one of the same key replaces an earlier."""
    parsed = {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(list(overrides))}
    return [key for key, override in parsed.items() if override.is_sweep_override()]


def job_name(sweep_dir: str, overrides: Sequence[str]) -> str:
    """The name of a job's folder: the settings that differ between the jobs of the sweep, e.g. `cohesion-0.02_momentum-0.8`.

    It has no character that a shell, Hydra or a file system reads otherwise; a long or changed name ends in a hash of the settings.
    """
    values = values_of(overrides)
    swept = [key for key in read_json_or(Path(sweep_dir) / SWEPT, list(values)) if key in values]
    short = short_names(swept)
    parts = [f"{short[key]}-{values[key]}" for key in swept]
    name = "_".join(parts) or "job"
    safe_name = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)
    if safe_name == name and len(name) <= _LONGEST:
        return name
    return f"{safe_name[:_LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def domain_names(*, _root_: DictConfig) -> str:
    """The domains of an experiment as values of a setting, `'north','south'`; a resolver of conf/sweep/leave_one_out.yaml."""
    views = list(_root_.data.get("views") or ())  # of another one, which is left out itself
    names = [str(name) for part in ("domains", "sources") for name in _root_.data.get(part) or () if name not in views]
    if len(names) < 2:
        raise ConfigurationError(
            f"sweep=leave_one_out leaves each domain out of training once and needs two at least; the experiment has {names or 'none'} in"
            " data.sources and data.domains. Add them: +domain@data.sources.NAME=folder data.sources.NAME.root=DIR"
        )
    return ",".join(name if _PLAIN.fullmatch(name) else quoted(name) for name in names)


# At import: a launcher's process imports this module when it unpickles the callback, and has to name the job before anything else runs.
OmegaConf.register_new_resolver("pin_memory.job_name", job_name, replace=True)
OmegaConf.register_new_resolver("pin_memory.domains", domain_names, replace=True)


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
    parts += [f"{counts['same']} the same run as another"] if counts["same"] else []
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
        rows.append([str(len(rows) + 1), *(value or "-" for value in job["settings"].values()), job["name"], *scores])
    return Table(caption, head, [rows] if rows else [], labels=len(sweep["swept"]) + 2)


def _seed_table(sweep: Sweep) -> Table:
    """A row for each setting, where there are several seeds; without rows otherwise."""
    keys = [key for key in sweep["swept"] if key not in sweep["averaged"]]
    over = "seeds" if sweep["averaged"] == ["seed"] else "runs"
    head = [*(sweep["short_names"][key] for key in keys), "objective", over, *(["compared"] if sweep["notes"] else [])]
    rows: list[list[Cell]] = []
    if len(keys) < len(sweep["swept"]) and any(len(row["jobs"]) > 1 for row in sweep["settings"]):
        for row in sweep["settings"]:
            compared = [Score(row["compared"])] if sweep["notes"] else []
            settings = (row["settings"].get(key) or "-" for key in keys)
            rows.append([*settings, Score(row["mean"], row["std"]), str(len(row["jobs"])), *compared])
    return Table([f"Over the {_over(sweep)}:"], head, [rows] if rows else [], labels=len(keys))


def _verdict(sweep: Sweep) -> list[str]:
    """The best setting, as it is typed, and notes on the comparison."""
    if not (best := sweep["best"]):
        if not sweep["swept"]:
            return ["No setting has several values: there is no setting to choose."]
        if not set(sweep["swept"]) <= set(sweep["averaged"]):
            return sweep["notes"]
        return [f"Only the {_over(sweep, 'seed')} differ{'s' if len(sweep['averaged']) == 1 else ''}: there is no setting to choose."]
    where = (
        f"{len(best['jobs'])} {'seeds' if sweep['averaged'] == ['seed'] else 'runs'}" if len(best["jobs"]) > 1 else f"job {best['jobs'][0]}"
    )
    return [f"Best setting: {as_typed(best['settings'])} ({Score(best['mean'], best['std']).shown()}; {where})", *sweep["notes"]]


def _over(sweep: Sweep, seed: str = "seeds") -> str:
    """What is averaged, in words."""
    return " and ".join(seed if key == "seed" else sweep["short_names"][key] for key in sweep["averaged"])


def _missing(sweep: Sweep) -> list[str]:
    """A line with the reason for each job without a score, or whose settings are not those that were asked for."""
    lines = []
    for job in sweep["jobs"]:
        if job["status"] == "failed" or job["outcome"] == "failed":
            lines.append(f"Failed: {job['name']} ({(job['error'] or 'before this start; see its log.txt').splitlines()[0]})")
        elif job["status"] == "same":
            lines.append(f"Same run: {job['name']} has the settings and the seed of {job['same_as']}, which counts once")
        elif job["status"] != "finished":
            lines.append(f"Unfinished: {job['name']} (the same command resumes it)")
    return lines


def _sources(sweep: Sweep) -> list[str]:
    """The names of all sources that a job was validated on."""
    return list(dict.fromkeys(name for job in sweep["jobs"] for name in job["source_validation"]))
