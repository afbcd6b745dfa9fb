"""`resume=RUN` on the command line: the run's own settings and folder, before Hydra makes a new folder for a run that is none.

Hydra composes the settings and makes the run's folder before a command begins. So the command line is completed first: with what was given
when the run was started (`.hydra/overrides.yaml`), with what is given now in its place, and with the run's folder. As the folder may be a
stranger's, what is on record may not call code; `trust=[package]` next to `resume=` is for this alone, and is no setting of the run.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from pin_memory.runs.trusted import refusal
from pin_memory.training.resume.find import CONFIG_DIR, HYDRA_FOLDER, find_unfinished, recorded_overrides
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import read_yaml

AUTO = "auto"
"""What `resume` is set to for the newest unfinished run of the same settings."""
_FOLDER = "hydra.run.dir"
_SPOKEN_ONLY = ("-h", "--help", "--hydra-help", "--version", "--info", "-sc", "--shell-completion")  # nothing is trained
_MULTIRUN = ("-m", "--multirun")
_NOT_THE_RUNS = re.compile(r"(resume|trust|paths\.run)$|(.*@([\w.]*\.)?)?/?hydra([./]|$)")
"""Settings on record that are not taken over: the run's folder is the one that is resumed, and Hydra's own could name code."""


class _Given(NamedTuple):
    """A setting of the command line as it was typed, and parsed."""

    text: str
    parsed: Override

    @property
    def key(self) -> str:
        """What it sets, without a leading `+` or `~`."""
        return self.parsed.key_or_group + (f"@{self.parsed.package}" if self.parsed.package is not None else "")

    @property
    def identity(self) -> tuple[str, bool]:
        """The key, and whether it is deleted: what is deleted first and added then takes both."""
        return self.key, self.parsed.is_delete()


def with_recorded_settings(arguments: Sequence[str]) -> list[str]:
    """Complete a command line that resumes a run folder.

    Args:
        arguments: What was typed behind the command.

    Returns:
        The same where nothing is resumed, the resumption starts a new run (from a checkpoint file, or with another `hydra.run.dir`), or
        the command line cannot be parsed, which Hydra will tell.

    Raises:
        ConfigurationError: The run's settings are not on record and none are given.
    """
    arguments = list(arguments)
    given = _parsed(argument for argument in arguments if not argument.startswith("-"))
    resume = _value(given, "resume")
    if not resume or any(argument.startswith(_SPOKEN_ONLY) for argument in arguments):
        return arguments
    trust = _packages(given)
    arguments = _without(arguments, given, "trust")
    given = [setting for setting in given if setting.key != "trust"]
    if any(argument in _MULTIRUN for argument in arguments):  # a sweep goes on with its unfinished jobs by itself
        return [*_without(arguments, given, "resume"), "resume=null"] if resume == AUTO else arguments
    if resume == AUTO:
        found = find_unfinished(arguments, [setting.text for setting in given], _value(given, _FOLDER))
        arguments = [*_without(arguments, given, "resume"), f"resume={_quoted(found)}" if found else "resume=null"]
        if found is None:
            return arguments
        given, resume = _parsed(argument for argument in arguments if not argument.startswith("-")), str(found)
    run, folder = Path(resume).expanduser(), _value(given, _FOLDER)
    if not ((run / HYDRA_FOLDER).is_dir() or (run / "checkpoints").is_dir()) or (folder and not _same(Path(folder), run)):
        return arguments
    return _completed(arguments, given, run, trust)


def _completed(arguments: list[str], given: list[_Given], run: Path, trust: list[str]) -> list[str]:
    """The command line with the run's settings, and its folder."""
    recorded = recorded_overrides(run)
    if recorded is None and all(setting.key == "resume" or setting.key.startswith("hydra.") for setting in given):
        raise ConfigurationError(
            f"resume={run}: its settings ({run / HYDRA_FOLDER / 'overrides.yaml'}) are missing or empty."
            " Give those that it was started with again, beside resume=."
        )
    if recorded and not _parsed(recorded):
        raise ConfigurationError(f"resume={run}: its settings ({run / HYDRA_FOLDER / 'overrides.yaml'}) are damaged: {recorded}.")
    old = [setting for setting in _parsed([*(recorded or ()), *_moved(run)]) if not _NOT_THE_RUNS.match(setting.key)]
    old = list({setting.identity: setting for setting in old}.values())  # a later one of the same key holds
    now = {setting.identity: setting for setting in given}
    known = {setting.identity for setting in old}
    annulled = {key for key, deletes in now if deletes and (key, True) not in known and (key, False) in known}
    for before in old:
        if before.key not in annulled and before.identity not in now:
            _check_recorded(before, run, trust)
    texts = [_instead(before, now.get(before.identity, before)) for before in old if before.key not in annulled]
    added = {setting.key for setting in old if setting.key in annulled and setting.parsed.is_add()}  # and thus are not there at all
    rest = [argument for argument in arguments if argument.startswith("-") or argument not in {setting.text for setting in given}]
    new = [setting.text for setting in given if setting.identity not in known and setting.key not in {*added, _FOLDER}]
    # Hydra would write over the settings on record, not at once: they are kept by `run_folder.make_ready`.
    ours = [f"{_FOLDER}={_quoted(run)}", "hydra.output_subdir=null"]
    return [*rest, *_config_directory(arguments, run), *texts, *new, *ours]


def _check_recorded(setting: _Given, run: Path, trust: Sequence[str]) -> None:
    """Refuse a setting on record by which a stranger's run folder could run code."""
    if setting.parsed.is_delete():
        return
    key, value = setting.parsed.key_or_group, setting.parsed.value()
    reason = refusal({key.rpartition(".")[2]: value}, trust)
    if reason is None and "." not in key and (Path(str(value)).is_absolute() or ".." in Path(str(value)).parts):
        reason = "may read settings from elsewhere, which could name code"
    if reason:
        raise ConfigurationError(
            f"resume={run}: its settings on record (.hydra/overrides.yaml) hold {setting.text}; they {reason}. A run folder may be a"
            " stranger's, so this is not taken over. If it is as you want it, give this setting again next to resume=."
        )


def _instead(before: _Given, now: _Given) -> str:
    """The setting of now at the place of the one on record; what was added has to be added again."""
    adds = before.parsed.is_add() and not (now.parsed.is_add() or now.parsed.is_force_add())
    return f"+{now.text}" if adds else now.text


def _runtime(run: Path) -> dict[str, Any]:
    """Where Hydra was when the run was started: folder (`cwd`) and sources of configuration files."""
    try:
        return dict(read_yaml(run / HYDRA_FOLDER / "hydra.yaml")["hydra"]["runtime"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _moved(run: Path) -> list[str]:
    """The data folder that the run was started with, where the command is typed in another folder now."""
    before = _runtime(run).get("cwd")
    if not before or Path(before).resolve() == Path.cwd().resolve():
        return []
    try:
        data = read_yaml(run / "config.yaml")["paths"]["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [f"paths.data={_quoted(Path(before) / data)}"]


def _config_directory(arguments: list[str], run: Path) -> list[str]:
    """The user's own YAML files that the run was started with."""
    if any(argument.partition("=")[0] in CONFIG_DIR for argument in arguments):
        return []
    sources = [source for source in _runtime(run).get("config_sources", ()) if source.get("provider") == "command-line"]
    if not sources:
        return []
    folder = Path(sources[0]["path"])
    if folder.resolve() != config_directory().resolve():
        raise ConfigurationError(
            f"resume={run}: it was started with --config-dir {folder}. YAML files may name code, and a run folder may be a stranger's: give"
            " --config-dir again next to resume=."
        )
    return ["--config-dir", str(folder)]


def _parsed(texts: Any) -> list[_Given]:
    """The settings among the arguments; empty where one is none, which Hydra will tell."""
    try:
        return [_Given(text, OverridesParser.create().parse_override(text)) for text in texts if "=" in text or text.startswith("~")]
    except HydraException:
        return []


def _value(given: list[_Given], key: str) -> str | None:
    """The value of a setting as text, where it is given."""
    values = [setting.parsed.value() for setting in given if setting.key == key]
    return str(values[-1]) if values and values[-1] is not None else None


def _packages(given: list[_Given]) -> list[str]:
    """The packages that `trust=` names."""
    values = [setting.parsed.value() for setting in given if setting.key == "trust"]
    return [str(name) for value in values if value for name in (value if isinstance(value, list) else [value])]


def _without(arguments: list[str], given: list[_Given], key: str) -> list[str]:
    return [argument for argument in arguments if argument not in {setting.text for setting in given if setting.key == key}]


def _same(one: Path, other: Path) -> bool:
    return one.expanduser().resolve() == other.resolve()


def _quoted(path: Path) -> str:
    """A path as a value that Hydra's grammar takes as it is."""
    return "'" + str(path).replace("'", "\\'") + "'"
