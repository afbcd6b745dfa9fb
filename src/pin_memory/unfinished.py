"""Runs that were not finished: for `resume=auto`, with which the same command line starts a run or goes on with it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from pin_memory.commands import config_directory
from pin_memory.documents import read_json, read_yaml
from pin_memory.errors import ConfigurationError
from pin_memory.locking import is_in_use

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
    """
    wanted = _compared(settings)
    if folder:
        found = [Path(folder)] if _was_begun(Path(folder)) else []  # finished or not: no other run can be made there
        where = folder
    else:
        output = _output(arguments, settings)
        runs = [run for run in output.glob("*/*") if any((run / "checkpoints").glob("*.ckpt")) and not _is_finished(run)]
        runs.sort(key=lambda run: max(path.stat().st_mtime for path in (run / "checkpoints").glob("*.ckpt")), reverse=True)
        same = [run for run in runs if not wanted or _compared(recorded_overrides(run) or ()) == wanted]
        found = [run for run in same if not is_in_use(run)]
        where = f"{output}/*/*"
        if len(same) > len(found):
            _tell(f"resume=auto: {len(same) - len(found)} that another process is at work on.")
    if found:
        _tell(f"resume=auto: going on with {found[0]}.")
        return found[0]
    _tell(f"resume=auto: no unfinished run of these settings in {where}; starting a new one.")
    return None


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
        from pin_memory.untrusted import load_weights_only  # imports torch

        return 0 < settings["trainer"]["max_steps"] <= load_weights_only(run / "checkpoints" / "last.ckpt")["global_step"]
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError):
        return False


def _output(arguments: Sequence[str], settings: Sequence[str]) -> Path:
    """The folder of all runs, by the settings given."""
    overrides = [text for text in settings if not re.match(_NOT_COMPOSED, text)]
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag.partition("=")[0] in CONFIG_DIR:
            overrides.append(f"hydra.searchpath=[file://{Path(flag.partition('=')[2] or value).resolve()}]")
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            return Path(compose("train", overrides).paths.output)
    except (HydraException, OmegaConfBaseException):  # a mistake in the settings, which the command itself will tell
        return Path(os.environ.get("PIN_MEMORY_RUNS", "runs"))


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
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(text, flush=True)
