"""Sweeps: names of their jobs, the table at the end, and `read_sweep("runs/demo/sweeps/loss_weights")["best"]`."""

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
from pin_memory.training.sweeps.sweep_results import SWEPT, jobs_in, read_json, read_sweep, short_names, values_of
from pin_memory.training.sweeps.table import as_csv, as_markdown, as_text
from pin_memory.utils.errors import DEFECT
from pin_memory.utils.files import write_text

__all__ = ["SweepSummary", "job_name", "read_sweep", "swept_keys"]
_LONGEST = 120  # characters of a job's folder, half of what file systems take


class SweepSummary(Callback):
    """Prints and saves a table of the jobs when a sweep is over, and ends the command with the exit code of the first that failed."""

    _under_way: ClassVar["SweepSummary | None"] = None

    def __init__(self) -> None:
        self.folder = Path()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write down which settings the sweep changes, for the names of the jobs, and forget the outcomes of an earlier start."""
        self.folder = Path(str(config.hydra.sweep.dir))
        given = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
        swept = [*read_json(self.folder / SWEPT, []), *swept_keys([*given, *config.hydra.overrides.task])]
        with suppress(OSError):  # the sweeper tells that the folder cannot be made
            shutil.rmtree(self.folder / OUTCOMES, ignore_errors=True)
            write_text(self.folder / SWEPT, json.dumps(list(dict.fromkeys(swept))) + "\n")
            SweepSummary._under_way = self

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the table; end the command if a job failed.

        Raises:
            SystemExit: A job failed, or one ended without a word.
        """
        if sweep := self._show():
            failed = [job for job in sweep["jobs"] if job["outcome"] == "failed"]
            if failed:
                sys.exit(int(failed[0].get("exit_code") or DEFECT))

    @classmethod
    def end_early(cls) -> None:
        """Show the table of a sweep that is ended by an error of the launcher or by Ctrl-C, if one is under way in this process."""
        if cls._under_way:
            cls._under_way._show()

    def _show(self) -> dict[str, Any] | None:
        SweepSummary._under_way = None
        if not jobs_in(self.folder):  # it ended before the first
            return None
        sweep = read_sweep(self.folder)
        print(f"\n{as_text(sweep)}\n", flush=True)
        for name, text in (
            ("sweep.json", json.dumps(sweep, indent=2) + "\n"),
            ("sweep.csv", as_csv(sweep)),
            ("sweep.md", as_markdown(sweep)),
        ):
            write_text(self.folder / name, text)
            print(f"Table     {self.folder / name}")
        return sweep


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """The settings that a list of overrides gives several values; a later override replaces an earlier one of its key.

    Args:
        overrides: In Hydra's syntax, e.g. `seed=1,2,3`.
    """
    parsed = {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(list(overrides))}
    return [key for key, override in parsed.items() if override.is_sweep_override()]


def job_name(sweep_dir: str, overrides: Sequence[str]) -> str:
    """The name of a job's folder: the settings that differ between the jobs, e.g. `cohesion-0.02_momentum-0.8`.

    Without characters that a shell, Hydra or a file system would stumble over; a long or changed name ends in a hash of the settings.

    Args:
        sweep_dir: The sweep's folder, where `SweepSummary` has written down which settings it changes.
        overrides: Those of the job.
    """
    values = values_of(overrides)
    swept = [key for key in read_json(Path(sweep_dir) / SWEPT, list(values)) if key in values]
    short = short_names(swept)
    parts = [f"{short[key]}-{values[key]}" for key in swept]
    name = "_".join(parts) or "job"
    plain = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)
    if plain == name and len(name) <= _LONGEST:
        return name
    return f"{plain[:_LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


# At import: a launcher's process imports this module when it unpickles the callback, and has to name the job before anything else runs.
OmegaConf.register_new_resolver("pin_memory.job_name", job_name, replace=True)
