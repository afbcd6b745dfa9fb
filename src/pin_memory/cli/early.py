"""The first mistakes of a command, found before torch and Lightning are imported: what has no value, and what is not there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from pin_memory.cli.early_data import all_domains, domain_name, is_ours, refuse_missing_data, refuse_missing_target, refuse_unknown_domains
from pin_memory.cli.early_network import refuse_unknown_network
from pin_memory.utils.choices import chosen, refuse_class_list, refuse_unknown, severities
from pin_memory.utils.config import plain
from pin_memory.utils.devices import refuse_other_words
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError
from pin_memory.utils.names import path_or_pattern

_OF_CHECKPOINTS = {"evaluate": "checkpoint", "predict": "checkpoint", "analyze": "checkpoint", "export": "checkpoint", "train": "resume"}
"""Setting of a command that names run folders or checkpoint files."""
_WRITTEN = {
    "stand_in": ("root", "contact_sheet"),
    "check": ("panel",),
    **dict.fromkeys(("predict", "export", "convert", "compare", "report", "dashboard", "text"), ("output",)),
}
"""Settings of a command that name what it writes."""
_READ = {
    "predict": ("support", "pretrained"),
    "export": ("support", "pretrained"),
    "convert": ("source", "pretrained"),
    "analyze": ("pretrained",),
    "evaluate": ("pretrained",),
}
"""Settings of a command that name files and folders that it reads."""


def refuse_early(cfg: DictConfig, command: str) -> None:
    """Refuse settings without a value or out of their range, names that are not known, and runs, files and data that are not there."""
    if missing := sorted(_without_value(plain(cfg))):
        shown, them = ("`, `".join(missing), "them") if len(missing) > 1 else (missing[0], "it")
        values = " ".join(f"{key}=..." for key in missing)
        verb = "settings `{}` have" if len(missing) > 1 else "setting `{}` has"
        raise ConfigurationError(f"The {verb.format(shown)} no value; give {them} on the command line: {values}")
    for path in _paths(cfg, _OF_CHECKPOINTS.get(command, "")):
        of_run = command != "train" and path.is_dir() and not any(path.glob("model*.safetensors"))  # which `export` wrote
        if of_run or not path.exists():
            from pin_memory.runs.folder import RunFolder  # imports numpy, which `--help` does not need

            RunFolder(path).checkpoint()  # which says what was expected
    refuse_unknown(command, cfg)
    if command == "evaluate":
        severities(cfg.corruptions, cfg.severity)
    if "device" in cfg:
        refuse_other_words(cfg.device)
    for key in _WRITTEN.get(command, ()):
        _refuse_no_folder(cfg, key)
    for key in _READ.get(command, ()):
        _refuse_missing(cfg, key)
    if command == "predict" and isinstance(cfg.input, str) and cfg.input != "-":
        path_or_pattern("input", cfg.input)
    if command in ("analyze", "evaluate"):
        _refuse_of_checkpoints(cfg, "domains" if command == "analyze" else "targets")
    if command in ("train", "check"):
        refuse_missing_target(cfg)
    if command == "train":
        _refuse_of_training(cfg)
    from pin_memory.cli.early_values import refuse_wrong_values  # imports pydantic, which `--help` does not need

    refuse_wrong_values(cfg)
    if command == "text":
        refuse_class_list(cfg.classes)
    if (
        command == "check"
        and is_ours(cfg, "data")
        and not all_domains(cfg)
        and not (folder := Path(str(cfg.paths.data)).expanduser()).exists()
    ):
        raise DataError(f"paths.data={cfg.paths.data}: no such folder (looked for {folder.absolute()}). Name another: paths.data=DIR.")


def _refuse_of_training(cfg: DictConfig) -> None:
    """Refuse data, networks and weights that are not there, and settings with which no training succeeds."""
    if is_ours(cfg, "data"):  # what settings mean to a class of the user's is not known
        refuse_missing_data(cfg)
        refuse_unknown_domains(cfg)
    if not cfg.resume:  # which has its network and its text
        refuse_unknown_network(cfg)
    from pin_memory.utils.training_settings import refuse_wrong_settings

    refuse_wrong_settings(cfg)


def _refuse_no_folder(cfg: DictConfig, key: str) -> None:
    """Refuse a place for something to be written that lies below a file."""
    for path in _paths(cfg, key):
        there = next(place for place in path.absolute().parents if place.exists())
        if not there.is_dir():
            raise OutputError(f"{key}={path}: nothing can be written there, as {there} is no folder. Choose another place.")


def _refuse_missing(cfg: DictConfig, key: str) -> None:
    """Refuse a file or folder that is not there."""
    for path in _paths(cfg, key):
        if not path.exists():
            raise ConfigurationError(f"{key}={path}: no such file or folder (looked for {path.absolute()}).")


def _refuse_of_checkpoints(cfg: DictConfig, setting: str) -> None:
    """Refuse an earlier run that is not there, added domains without a folder, and names of domains that a run does not know."""
    single = not isinstance(cfg.checkpoint, ListConfig)
    if single and cfg.baseline is not None:
        from pin_memory.evaluation.compared_runs import read_run  # imports numpy, which `--help` does not need

        read_run(str(cfg.baseline), "baseline")
    if cfg[setting] is None:  # else it may be added domains alone, which need no data of the run
        _refuse_missing(cfg, "paths.data")
    added = all_domains(cfg)
    for key, domain in added.items():
        given = is_ours(cfg, key) and not OmegaConf.is_interpolation(domain, "root")
        if given and not (root := Path(str(domain.root)).expanduser()).exists():
            raise DataError(f"{key}.root={root}: no such folder (looked from {Path.cwd()}).")
    if single and cfg[setting] is not None:
        from pin_memory.runs.folder import RunFolder

        path = Path(str(cfg.checkpoint)).expanduser()
        run = path.parent.parent if path.parent.name == "checkpoints" and path.is_file() else path
        data = RunFolder(run).config.get("data") or {}
        maker = str(data.get("_target_"))
        left_out = maker.endswith(".leave_one_out")  # a source or a domain is a target then
        places = ("sources", "domains", "targets") if setting == "domains" or left_out else ("targets",)
        if known := [name for place in places for name in (data.get(place) or ()) if maker.startswith("pin_memory.")]:
            chosen(setting, cfg[setting], [*known, *map(domain_name, added)])


def _without_value(content: Any, key: str = "") -> Iterator[str]:
    """The dotted keys of settings that are still to be given; references, which may lead to one of them, are not followed."""
    if content == "???":
        yield key
    for name, value in content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ():
        yield from _without_value(value, f"{key}.{name}" if key else str(name))


def _paths(cfg: DictConfig, key: str) -> Iterator[Path]:
    """The paths of a setting, which may be a list."""
    value = OmegaConf.select(cfg, key) if key else None
    for one in value if isinstance(value, ListConfig) else [value]:
        if isinstance(one, str) and one != "auto":
            yield Path(one).expanduser()
