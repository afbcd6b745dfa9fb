"""The first mistakes of a command, found before torch and Lightning are imported: what has no value, and what is not there."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from pin_memory.utils.choices import chosen, one_of, refuse_class_list, refuse_unknown
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError
from pin_memory.utils.names import path_or_pattern
from pin_memory.utils.text_files import text_file

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
_WEIGHTS = (".pth", ".pt", ".safetensors", ".bin", ".npz", ".ckpt", ".tar")  # other values are names
_RANDOM = "Train from random weights on purpose with network.backbone.pretrained=null."
_DOMAINS = ("data.sources", "data.targets", "data.domains")


def refuse_early(cfg: DictConfig, command: str) -> None:
    """Refuse settings without a value, names that are not known, runs and files that are not there, and a training without data."""
    if missing := sorted(_without_value(plain(cfg))):
        shown, them = ("`, `".join(missing), "them") if len(missing) > 1 else (missing[0], "it")
        values = " ".join(f"{key}=..." for key in missing)
        verb = "settings `{}` have" if len(missing) > 1 else "setting `{}` has"
        raise ConfigurationError(f"The {verb.format(shown)} no value; give {them} on the command line: {values}")
    for path in _paths(cfg, _OF_CHECKPOINTS.get(command, "")):
        if not path.exists():
            from pin_memory.runs.folder import RunFolder  # imports numpy, which `--help` does not need

            RunFolder(path).checkpoint()  # which says what was expected
    refuse_unknown(command, cfg)
    for key in _WRITTEN.get(command, ()):
        _refuse_no_folder(cfg, key)
    for key in _READ.get(command, ()):
        _refuse_missing(cfg, key)
    if command == "predict" and isinstance(cfg.input, str) and cfg.input != "-":
        path_or_pattern("input", cfg.input)
    if command in ("analyze", "evaluate"):
        _refuse_of_checkpoints(cfg, "domains" if command == "analyze" else "targets")
    if command == "train":
        _refuse_missing_data(cfg)
        if HydraConfig.get().mode != RunMode.MULTIRUN:  # there one job may have what others have not: it fails by itself, on record
            _refuse_unknown_domains(cfg)
            if not cfg.resume:  # which has its weights and its text
                _refuse_missing_weights(cfg)
    if command == "text":
        refuse_class_list(cfg.classes)
    if command == "check" and not _domains(cfg) and not (folder := Path(str(cfg.paths.data)).expanduser()).exists():
        raise DataError(f"paths.data={cfg.paths.data}: no such folder (looked for {folder.absolute()}). Name another: paths.data=DIR.")


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


def _refuse_missing_weights(cfg: DictConfig) -> None:
    """Refuse files of weights and of text that are not there."""
    for file in _paths(cfg, "network.backbone.pretrained") if _is_ours(cfg, "network.backbone") else ():
        if file.suffix in _WEIGHTS and not file.exists():
            raise ConfigurationError(f"network.backbone.pretrained={file}: no such file (looked for {file.absolute()}). {_RANDOM}")
    if (text := cfg.get("text")) and text.get("rows") in ("file", "shuffled"):
        text_file(text.get("path"))


def _refuse_of_checkpoints(cfg: DictConfig, setting: str) -> None:
    """Refuse an earlier run that is not there, added domains without a folder, and names of domains that a run folder does not know."""
    single = not isinstance(cfg.checkpoint, ListConfig)
    if single and cfg.baseline is not None:
        from pin_memory.evaluation.compared_runs import read_run  # imports numpy, which `--help` does not need

        read_run(str(cfg.baseline), "baseline")
    if cfg[setting] is None:  # else it may be added domains alone, which need no data of the run
        _refuse_missing(cfg, "paths.data")
    added = _domains(cfg)
    for key, domain in added.items():
        given = _is_ours(cfg, key) and not OmegaConf.is_interpolation(domain, "root")
        if given and not (root := Path(str(domain.root)).expanduser()).exists():
            raise DataError(f"{key}.root={root}: no such folder (looked from {Path.cwd()}).")
    if single and cfg[setting] is not None:
        from pin_memory.runs.folder import RunFolder

        data = RunFolder(str(cfg.checkpoint)).config.get("data") or {}
        maker = str(data.get("_target_"))
        left_out = maker.endswith(".leave_one_out")  # a source or a domain is a target then
        places = ("sources", "domains", "targets") if setting == "domains" or left_out else ("targets",)
        if known := [name for place in places for name in (data.get(place) or ()) if maker.startswith("pin_memory.")]:
            chosen(setting, cfg[setting], [*known, *map(_name, added)])


def _refuse_unknown_domains(cfg: DictConfig) -> None:
    """Refuse a target to leave out, and sources of the meta-test side, that are not among the domains."""
    sources = [_name(key) for key in _domains(cfg) if not key.startswith("data.targets.")]
    target = OmegaConf.select(cfg, "data.target", throw_on_resolution_failure=False)
    if isinstance(target, str) and _is_ours(cfg, "data"):
        one_of("target", target, sources)
    if _is_ours(cfg, "method.split"):
        chosen("split.meta_test", cfg.method.split.get("meta_test"), [name for name in sources if name != target])


def _is_ours(cfg: DictConfig, key: str) -> bool:
    """Whether a setting names a class of the library; what settings mean to others is not known."""
    return str(OmegaConf.select(cfg, f"{key}._target_")).startswith("pin_memory.")


def _name(key: str) -> str:
    """The name of a domain, which may have dots, by its dotted key."""
    return key.split(".", 2)[2]


def _refuse_missing_data(cfg: DictConfig) -> None:
    """Refuse a training without data, and folders that are not there; what lies in those that are there is looked at later."""
    target = OmegaConf.select(cfg, "data.target", throw_on_resolution_failure=False)
    if target is None and "target" in list(cfg.data) and OmegaConf.is_interpolation(cfg.data, "target"):  # to nothing
        raise ConfigurationError(
            "data=leave_one_out: name the domain that is left out of training, +target=NAME, or leave out each once, sweep=leave_one_out."
        )
    held_out = f".{target}"  # which, like the targets, is not read without a test
    domains = {
        key: domain for key, domain in _domains(cfg).items() if cfg.test or not (key.startswith("data.targets.") or key.endswith(held_out))
    }
    if not domains:
        raise ConfigurationError(
            f"There are no data to train on: choose an experiment, or add domains (+domain@data.sources.NAME=folder).\n{_experiments()}"
        )
    if OmegaConf.select(cfg, "data.stand_in"):
        return
    folder = Path(str(cfg.paths.data)).expanduser()
    roots = {key: root for key, domain in domains.items() if (root := _root(domain, folder)) and not root.exists()}
    below = [_name(key) for key, root in roots.items() if root.is_relative_to(folder)]
    if below and not folder.exists():
        what = f"paths.data={cfg.paths.data}: no such folder (looked for {folder.absolute()}). "
        what += f"Expected a folder with the data sets {', '.join(below)}. "
    elif roots:
        lines = "".join(f"\n  {key}.root={root}" for key, root in roots.items())
        what = f"{len(roots)} of {len(domains)} data sets are not there; no such folder (looked from {Path.cwd()}):{lines}\n"
    else:
        return
    other = " Name another folder, paths.data=DIR, or choose experiment=demo, which draws its own." if below else " Name other folders."
    raise DataError(f"{what}`pin-memory check` with the same settings says what each of them needs and where to get it.{other}")


def _domains(cfg: DictConfig) -> dict[str, Any]:
    """The settings of all domains, by their dotted keys."""
    found: dict[str, Any] = {}
    for place in _DOMAINS:
        domains: Any = OmegaConf.select(cfg, place)
        if domains and not OmegaConf.is_dict(domains):
            raise ConfigurationError(f"{place}={domains}: expected domains by name; add one with +domain@{place}.NAME={domains}.")
        found |= {f"{place}.{name}": domain for name, domain in (domains or {}).items()}
    return found


def _root(domain: object, folder: Path) -> Path | None:
    """The folder of a domain of the library or below `folder`; what `root` means to a class of the user is not known."""
    if not isinstance(domain, DictConfig) or not isinstance(root := domain.get("root"), str):
        return None
    path = Path(root).expanduser()
    return path if str(domain.get("_target_")).startswith("pin_memory.") or path.is_relative_to(folder) else None


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


def _experiments() -> str:
    """All experiments, one line each with what its file says at its head."""
    names = [name for name in GlobalHydra.instance().config_loader().get_group_options("experiment") if not name.startswith("_")]
    folders = [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    width = max(map(len, names), default=0)
    return "\n".join(f"  experiment={name:<{width}}  {_head(folders, name)}".rstrip() for name in names)


def _head(folders: list[Path], name: str) -> str:
    """The first comment of an experiment's file that is no package line, without what it says to try."""
    file = next((path for folder in folders if (path := folder / "experiment" / f"{name}.yaml").is_file()), None)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file else []
    found = next((line for line in lines if line.startswith("#") and not re.match(r"#\s*@package", line)), "")
    return found.lstrip("# ").partition(" Try: ")[0]
