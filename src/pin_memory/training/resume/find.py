"""Runs that were not finished: for `resume=auto`, with which the same command line starts a run or goes on with it."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.locking import is_in_use
from pin_memory.utils.processes import is_first, started_together
from pin_memory.utils.safe_load import read_json, read_yaml

HYDRA_FOLDER = ".hydra"
"""Folder in a run's in which the settings are kept."""
CONFIG_DIR = ("--config-dir", "-cd")
"""Hydra's flags for a folder of the user's own YAML files."""
_NOT_COMPOSED = r"[+~]*(resume=|hydra[./])"
_NOT_COMPARED = r"[+~]*(resume=|hydra[./]|paths\.)"  # where things are


def find_unfinished(arguments: Sequence[str], settings: Sequence[str], folder: str | None) -> Path | None:
    """Find the newest unfinished run of the same settings, or of any settings where none are given; says what was found.

    Args:
        arguments: What was typed behind the command.
        settings: Those of them that are settings.
        folder: The run folder, where it is given: no other run is looked for then.

    Raises:
        ConfigurationError: Several processes are started together, and the run folder is not given.
    """
    if folder:
        # Finished or not: no other run can be made there.
        found, where = (Path(folder) if _was_begun(Path(folder)) else None), folder
    else:
        _check_one_process()
        output = _output(arguments, settings)
        found, where = _newest(output, _compared(settings), _given_directory(arguments)), f"{output}/*/*"
    if found:
        _tell(f"resume=auto: going on with {found}.")
    else:
        _tell(f"resume=auto: no unfinished run of these settings in {where}; starting a new one.")
    return found


def _check_one_process() -> None:
    """Refuse to search in several processes: each would find what is there at its own moment, and not all might take the same run.

    Raises:
        ConfigurationError: Several were started.
    """
    variable, number = started_together()
    if number > 1:
        raise ConfigurationError(
            f"resume=auto: {number} processes are started together ({variable}={number}), and each would look for an unfinished run by"
            " itself. Name the run's folder, which all of them see: hydra.run.dir=runs/mine resume=auto."
        )


def _newest(output: Path, wanted: set[str], directory: Path | None) -> Path | None:
    """The unfinished run whose checkpoints are the newest, of those that no process is at work on.

    Args:
        output: The folder of all runs.
        wanted: Settings that it was started with; with no `directory` either, any run will do.
        directory: Folder of the user's own YAML files that it was started with.
    """
    busy, found = 0, None
    for run in _newest_first(output):  # what costs least is looked at first, a checkpoint last
        if (wanted or directory) and (_compared(recorded_overrides(run) or ()) != wanted or recorded_directory(run) != directory):
            continue
        if is_in_use(run):
            busy += 1
        elif not _is_finished(run):
            found = run
            break
    if busy:
        _tell(f"resume=auto: {busy} that another process is at work on.")
    return found


def _newest_first(output: Path) -> list[Path]:
    """The runs with a checkpoint."""
    times: dict[Path, float] = {}
    for path in output.glob("*/*/checkpoints/*.ckpt"):
        with suppress(OSError):  # of a run that is at work and has just replaced it
            times[path.parents[1]] = max(times.get(path.parents[1], 0.0), path.stat().st_mtime)
    return sorted(times, key=lambda run: -times[run])


def _was_begun(run: Path) -> bool:
    return (run / "checkpoints").is_dir() and recorded_overrides(run) is not None


def _is_finished(run: Path) -> bool:
    """Whether a run has come to its end: it has results, or all iterations where it is not to be judged."""
    try:
        if "targets" in read_json(run / "results.json"):
            return True
    except (OSError, ValueError, TypeError):
        pass
    try:
        settings = read_yaml(run / "config.yaml")
        if settings["test"]:
            return False
        from pin_memory.utils.safe_load import load_weights_only  # imports torch

        return 0 < settings["trainer"]["max_steps"] <= load_weights_only(run / "checkpoints" / "last.ckpt")["global_step"]
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError):
        return False


def _output(arguments: Sequence[str], settings: Sequence[str]) -> Path:
    """The folder of all runs, by the settings given."""
    overrides = [text for text in settings if not re.match(_NOT_COMPOSED, text)]
    if directory := _given_directory(arguments):
        overrides.append(f"hydra.searchpath=[file://{directory}]")
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return Path(compose("train", overrides).paths.output)
    except (HydraException, OmegaConfBaseException):  # a mistake in the settings, which the command itself will tell
        return Path(os.environ.get("PIN_MEMORY_RUNS", "runs"))


def _given_directory(arguments: Sequence[str]) -> Path | None:
    """The folder of the user's own YAML files, as an absolute path."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag.partition("=")[0] in CONFIG_DIR:
            return Path(flag.partition("=")[2] or value).resolve()
    return None


def recorded_directory(run: Path) -> Path | None:
    """The folder of the user's own YAML files (`--config-dir`) that a run was started with; None where there was none, or no record."""
    try:
        sources = read_yaml(run / HYDRA_FOLDER / "hydra.yaml")["hydra"]["runtime"]["config_sources"]
        return next((Path(source["path"]).resolve() for source in sources if source["provider"] == "command-line"), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _compared(overrides: Sequence[str]) -> set[str]:
    """The settings by which runs are told apart: not what concerns folders, Hydra or the resumption."""
    return {text for text in overrides if not re.match(_NOT_COMPARED, text)}


def recorded_overrides(run: Path) -> list[str] | None:
    """What was given on the command line when a run was started or resumed last; None where that is not on record."""
    try:
        found = read_yaml(run / HYDRA_FOLDER / "overrides.yaml")
    except (OSError, ValueError):
        return None
    return [str(override) for override in found] if isinstance(found, list) else None


def _tell(text: str) -> None:
    if is_first():
        print(text, flush=True)
