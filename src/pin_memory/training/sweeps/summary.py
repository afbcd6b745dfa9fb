"""What Hydra asks for in a sweep: names of the jobs' folders, and the table at the end."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pin_memory.training.sweeps.job import OUTCOMES
from pin_memory.training.sweeps.results import SWEPT, jobs_in, read_json_or, read_sweep, short_names, values_of
from pin_memory.training.sweeps.table import as_csv, as_markdown, as_text
from pin_memory.utils.errors import DEFECT
from pin_memory.utils.files import write_text

_LONGEST = 120  # characters of a job's folder, half of what file systems take


class SweepSummary(Callback):
    """Prints and saves a table of the jobs when a sweep is over, and ends the command with the exit code of the first that failed."""

    _under_way: ClassVar["SweepSummary | None"] = None

    def __init__(self) -> None:
        self.folder = Path()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record which settings the sweep changes, for the names of the jobs, and forget the outcomes of an earlier start."""
        self.folder = Path(str(config.hydra.sweep.dir))
        given = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
        swept = [*read_json_or(self.folder / SWEPT, []), *swept_keys([*given, *config.hydra.overrides.task])]
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


# At import: a launcher's process imports this module when it unpickles the callback, and has to name the job before anything else runs.
OmegaConf.register_new_resolver("pin_memory.job_name", job_name, replace=True)
