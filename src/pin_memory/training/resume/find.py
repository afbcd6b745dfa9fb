"""Runs that were not finished: for `resume=auto`, with which the same command line starts a run or resumes it."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from pin_memory.runs.folder import RunFolder
from pin_memory.runs.own_folder import CHECKPOINTS
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.locking import is_in_use
from pin_memory.utils.processes import is_first, started_together
from pin_memory.utils.safe_load import load_weights_only

CONFIG_DIR = ("--config-dir", "-cd")  # Hydra's flags for a folder of the user's own YAML files
_NOT_COMPOSED = r"[+~]*(resume=|hydra[./])"
_NOT_COMPARED = r"[+~]*(resume=|hydra[./]|paths\.)"  # folders, Hydra and the resumption itself


def find_unfinished(arguments: Sequence[str], settings: Sequence[str], folder: str | None) -> Path | None:
    """The newest unfinished run of the same settings, or of any settings where none are given; with `folder`, that run or none.

    `settings` are the settings among the `arguments` behind the command. What was found is printed.
    """
    if folder:  # finished or not: no other run can be made there
        run = RunFolder(folder)
        found, where = (run.path if (run.path / CHECKPOINTS).is_dir() and run.overrides is not None else None), folder
    else:
        variable, number = started_together()
        if number > 1:  # each would find what is there at its own moment, and not all might take the same run
            raise ConfigurationError(
                f"resume=auto: {number} processes are started together ({variable}={number}), and each would look for an unfinished run by"
                " itself. Name the run's folder, which all of them see: hydra.run.dir=runs/mine resume=auto."
            )
        output = _output(arguments, settings)
        found, where = _newest(output, _compared(settings), given_directory(arguments)), f"{output}/*/*"
    if is_first():
        result = f"resuming {found}" if found else f"no unfinished run of these settings in {where}; starting a new one"
        print(f"resume=auto: {result}.", flush=True)
    return found


def _newest(output: Path, requested: set[str], directory: Path | None) -> Path | None:
    """The unfinished run below `output` whose checkpoints are the newest, of those that no process works on.

    It was started with the `requested` settings and YAML files in `directory`; with neither, any run is taken.
    """
    times: dict[Path, float] = {}
    for checkpoint in output.glob("*/*/checkpoints/*.ckpt"):
        with suppress(OSError):  # of a run that is at work and has just replaced it
            times[checkpoint.parents[1]] = max(times.get(checkpoint.parents[1], 0.0), checkpoint.stat().st_mtime)
    busy, found = 0, None
    for path in sorted(times, key=lambda run: -times[run]):  # what costs least is looked at first, a checkpoint last
        run = RunFolder(path)
        if (requested or directory) and (_compared(run.overrides or ()) != requested or run.config_directory != directory):
            continue
        if is_in_use(path):
            busy += 1
        elif not _is_finished(run):
            found = path
            break
    if busy and is_first():
        print(f"resume=auto: another process works on {busy} of them.", flush=True)
    return found


def _is_finished(run: RunFolder) -> bool:
    """Whether a run has come to its end: it has results, or all iterations where it is not to be evaluated."""
    if run.results is not None:
        return True
    try:
        if run.config["test"]:
            return False
        return 0 < run.config["trainer"]["max_steps"] <= load_weights_only(run.path / CHECKPOINTS / "last.ckpt")["global_step"]
    except (OSError, KeyError, TypeError, ConfigurationError):
        return False


def _output(arguments: Sequence[str], settings: Sequence[str]) -> Path:
    """The folder of all runs, by the settings given."""
    overrides = [text for text in settings if not re.match(_NOT_COMPOSED, text)]
    if directory := given_directory(arguments):
        overrides.append(f"hydra.searchpath=[file://{directory}]")
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return Path(compose("train", overrides).paths.output)
    except (HydraException, OmegaConfBaseException):  # a mistake in the settings, which the command itself will report
        return Path(os.environ.get("PIN_MEMORY_RUNS", "runs"))


def given_directory(arguments: Sequence[str]) -> Path | None:
    """The folder of the user's own YAML files that a command line names, as an absolute path."""
    for flag, value in zip(arguments, [*arguments, ""][1:], strict=True):
        if flag.partition("=")[0] in CONFIG_DIR:
            return Path(flag.partition("=")[2] or value).resolve()
    return None


def _compared(overrides: Sequence[str]) -> set[str]:
    """The settings by which runs are distinguished."""
    return {text for text in overrides if not re.match(_NOT_COMPARED, text)}
