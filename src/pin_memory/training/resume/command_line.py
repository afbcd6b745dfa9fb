"""`resume=RUN` on the command line: the run's own settings and folder, before Hydra makes a new folder for a run that is none.

Hydra composes the settings and makes the run's folder before a command begins. So the command line is completed first: with what was given
when the run was started (`.hydra/overrides.yaml`), with what is given now in its place, and with the run's folder. As the folder may be a
stranger's, what is on record may not call code; `trust=[package]` next to `resume=` is for this alone, and is no setting of the run.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from pin_memory.runs.folder import RunFolder
from pin_memory.runs.old_settings import is_gone
from pin_memory.runs.own_folder import CHECKPOINTS, HYDRA_FOLDER
from pin_memory.runs.trusted import refusal
from pin_memory.training.resume.find import find_unfinished, given_directory
from pin_memory.utils.config import config_directory, quoted
from pin_memory.utils.errors import ConfigurationError

AUTO = "auto"  # the value of `resume` for the newest unfinished run of the same settings
_FOLDER = "hydra.run.dir"
_INFORMATION = ("-h", "--help", "--hydra-help", "--version", "--info", "-sc", "--shell-completion")  # nothing is trained
_MULTIRUN = ("-m", "--multirun")
_ALIAS = re.compile(r"^\+*ckpt_path=")  # as Lightning calls it
_NOT_THE_RUNS = re.compile(r"(resume|trust|paths\.run)$|(.*@([\w.]*\.)?)?/?hydra([./]|$)")
"""Settings on record that are not taken over: the run's folder is the one that is resumed, and Hydra's own could name code."""


class _Given(NamedTuple):
    """A setting of the command line as it was typed, the key or group that it sets, without a leading `+` or `~`, and parsed."""

    text: str
    key: str
    parsed: Override


def with_recorded_settings(arguments: Sequence[str]) -> list[str]:
    """Complete a command line that resumes a run folder.

    It stays as it is where nothing is resumed, the resumption starts a new run (from a checkpoint file, or in another `hydra.run.dir`), or
    it cannot be parsed, which Hydra will report.
    """
    arguments = [_ALIAS.sub("resume=", argument) for argument in arguments]
    given = _parsed(argument for argument in arguments if not argument.startswith("-"))
    resume = _value(given, "resume")
    if not resume or any(argument.startswith(_INFORMATION) for argument in arguments):
        return arguments
    trust = [str(name) for value in _values(given, "trust") if value for name in (value if isinstance(value, list) else [value])]
    arguments, given = _without(arguments, given, "trust")
    if any(argument in _MULTIRUN for argument in arguments):  # a sweep resumes its unfinished jobs by itself
        return [*_without(arguments, given, "resume")[0], "resume=null"] if resume == AUTO else arguments
    if resume == AUTO:
        found = find_unfinished(arguments, [setting.text for setting in given], _value(given, _FOLDER))
        arguments, given = _without(arguments, given, "resume")
        if found is None:
            return [*arguments, "resume=null"]
        resume, given = str(found), [*given, *_parsed([f"resume={quoted(found)}"])]
    run, folder = Path(resume).expanduser(), _value(given, _FOLDER)
    elsewhere = folder is not None and Path(folder).expanduser().resolve() != run.resolve()
    if elsewhere or not ((run / HYDRA_FOLDER).is_dir() or (run / CHECKPOINTS).is_dir()):
        return arguments
    flags = [argument for argument in arguments if argument.startswith("-") or argument not in {setting.text for setting in given}]
    return _completed(flags, given, RunFolder(run), trust)


def _completed(flags: list[str], given: list[_Given], run: RunFolder, trust: Sequence[str]) -> list[str]:
    """The command line with the run's settings, and its folder."""
    record = run.path / HYDRA_FOLDER / "overrides.yaml"
    if run.overrides is None and all(setting.key == "resume" or setting.key.startswith("hydra.") for setting in given):
        state = "cannot be read: change their permissions" if record.exists() and not os.access(record, os.R_OK) else "are missing or empty"
        raise ConfigurationError(
            f"resume={run.path}: its settings ({record}) {state}. Give those that it was started with again, next to resume=."
        )
    recorded = _parsed(run.overrides or ())
    if run.overrides and not recorded:
        raise ConfigurationError(f"resume={run.path}: its settings ({record}) are damaged: {run.overrides}.")
    recorded = [one for one in [*recorded, *_moved_data(run)] if not _NOT_THE_RUNS.match(one.key) and not is_gone(one.key)]
    merged = _merged(recorded, [setting for setting in given if setting.key != _FOLDER])
    keys = {setting.key for setting in given}
    for setting in recorded:
        if setting.text in merged and setting.key not in keys:
            _check_recorded(setting, run, trust)
    return [*flags, *_config_directory(flags, run), *merged, f"{_FOLDER}={quoted(run.path)}"]


def _merged(recorded: Iterable[_Given], given: Iterable[_Given]) -> list[str]:
    """The settings on record, with what is given now in their place; deletions on record stay as they are.

    What was added has to be added again, and a deletion of it only takes it out.
    """
    merged = {("~" if setting.parsed.is_delete() else "") + setting.key: setting.text for setting in recorded}
    for setting in given:
        before = merged.get(setting.key, "")
        if not setting.parsed.is_delete():
            prefix = "" if setting.text.startswith("+") else before[: len(before) - len(before.lstrip("+"))]
            merged[setting.key] = prefix + setting.text
            continue
        merged.pop(setting.key, None)
        if not before.startswith("+"):
            merged.setdefault(f"~{setting.key}", setting.text)
    return list(merged.values())


def _check_recorded(setting: _Given, run: RunFolder, trust: Sequence[str]) -> None:
    """Refuse a setting on record by which a stranger's run folder could run code."""
    if setting.parsed.is_delete():
        return
    key, value = setting.parsed.key_or_group, setting.parsed.value()
    reason = refusal({key.rpartition(".")[2]: value}, trust)
    if reason is None and "." not in key and (Path(str(value)).is_absolute() or ".." in Path(str(value)).parts):
        reason = "may read settings from elsewhere, which could name code"
    if reason:
        raise ConfigurationError(
            f"resume={run.path}: its settings on record (.hydra/overrides.yaml) hold {setting.text}; they {reason}. A run folder may be a"
            " stranger's, so this is not taken over. If it is as you want it, give this setting again next to resume=."
        )


def _moved_data(run: RunFolder) -> list[_Given]:
    """The data folder that the run was started with, where the command is typed in another folder now."""
    before, paths = run.working_directory, run.config.get("paths")
    data = paths.get("data") if isinstance(paths, dict) else None
    if before is None or data is None or before.resolve() == Path.cwd().resolve():
        return []
    return _parsed([f"paths.data={quoted(before / data)}"])


def _config_directory(flags: Sequence[str], run: RunFolder) -> list[str]:
    """The arguments for the user's own YAML files that the run was started with."""
    folder = run.config_directory
    if folder is None or given_directory(flags) is not None:
        return []
    if folder != config_directory().resolve():
        raise ConfigurationError(
            f"resume={run.path}: it was started with --config-dir {folder}. YAML files may name code, and a run folder may be a stranger's:"
            " give --config-dir again next to resume=."
        )
    return ["--config-dir", str(folder)]


def _parsed(texts: Iterable[str]) -> list[_Given]:
    """The settings among the arguments; empty where one cannot be parsed, which Hydra will report."""
    settings = [text for text in texts if "=" in text or text.startswith("~")]
    try:
        parsed = OverridesParser.create().parse_overrides(settings)
    except HydraException:
        return []
    return [_Given(text, one.get_key_element().lstrip("+~"), one) for text, one in zip(settings, parsed, strict=True)]


def _values(given: Iterable[_Given], key: str) -> list[object]:
    """The values that are given for a setting."""
    return [setting.parsed.value() for setting in given if setting.key == key]


def _value(given: Iterable[_Given], key: str) -> str | None:
    """The last value that is given for a setting, as text."""
    values = _values(given, key)
    return str(values[-1]) if values and values[-1] is not None else None


def _without(arguments: Sequence[str], given: Sequence[_Given], key: str) -> tuple[list[str], list[_Given]]:
    """The command line without a setting: arguments, and the settings among them."""
    texts = {setting.text for setting in given if setting.key == key}
    return [argument for argument in arguments if argument not in texts], [setting for setting in given if setting.key != key]
