"""Checkpoints of this library: the record of a run that lies in them, and the way back to a trained method."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.callbacks.run_record import RECORD
from pin_memory.domains import EpisodeDataModule, MultiSourceDataModule
from pin_memory.domains.loading.compatibility import require_unseen_here
from pin_memory.methods import Method
from pin_memory.methods.frozen_base import BASE, FrozenBase
from pin_memory.runs import build
from pin_memory.runs.base_weights import read_base, source_of
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.old_settings import current_settings
from pin_memory.runs.trusted import BUILT, trusted_settings
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import IGNORE, LabelSpace
from pin_memory.utils.safe_load import load_weights_only

log = logging.getLogger(__name__)

_NOT_RECORDED = ("callbacks", "logger", "hydra")


def run_record(cfg: DictConfig, choices: dict[str, str], run: Path, data: MultiSourceDataModule) -> dict[str, Any]:
    """The settings that rebuild the run's objects; interpolations stay, so that `paths.data` can be set anew when it is evaluated."""
    kept = [str(key) for key in cfg if key not in _NOT_RECORDED]
    config = plain(OmegaConf.masked_copy(cfg, kept))
    config["paths"] = {"data": str(Path(cfg.paths.data).resolve()), "output": str(cfg.paths.output), "run": str(run)}
    space = {"names": list(data.outputs.names), "palette": data.outputs.palette.tolist()}
    return {"config": config, "choices": choices, "sources": data.source_names, "label_space": space}


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """The checkpoint that a run folder or a file stands for."""
    path = Path(run_or_checkpoint).expanduser()
    return path if path.is_file() else RunFolder(run_or_checkpoint).checkpoint()


class Checkpoint(NamedTuple):
    """The content of a checkpoint."""

    cfg: DictConfig  # nothing may be built from it before `load_method` has checked it
    recorded: DictConfig  # the settings, unchecked, with their references
    choices: dict[str, str]  # options of the configuration groups
    state: dict[str, Any]  # tensors by name
    step: int  # iterations made
    label_space: LabelSpace
    sources: list[str]  # names of the source domains
    source_validation: dict[str, float]  # mIoU by source
    converted: bool  # whether it comes from the authors' format
    base: FrozenBase | None  # the file of the frozen weights that it leaves out


class Trained(NamedTuple):
    """A trained method in eval mode, and the checkpoint it comes from."""

    method: Method
    checkpoint: Checkpoint


def read_checkpoint(path: Path, content: Any = None) -> Checkpoint:
    """Read a checkpoint of this or an older version, or the `content` that is loaded already; weights only, no code in it is run."""
    content = load_weights_only(path) if content is None else content
    if not isinstance(content, dict) or RECORD not in content:
        raise ConfigurationError(f"{path} holds no settings of a pin_memory run; expected a checkpoint that pin_memory.train wrote.")
    record = content[RECORD]
    try:
        config = current_settings(record["config"])
        checkpoint = Checkpoint(
            cfg=OmegaConf.create(config),
            recorded=OmegaConf.create(config),
            choices=dict(record["choices"]),
            state=content["state_dict"],
            step=content["global_step"],
            label_space=LabelSpace(tuple(record["label_space"]["names"]), np.array(record["label_space"]["palette"], np.uint8)),
            sources=list(record["sources"]),
            source_validation={name: float(score) for name, score in record["source_validation"].items()},
            converted="official" in record,
            base=read_base(content.get(BASE)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"{path}: the settings in this checkpoint are damaged ({type(error).__name__}: {error}).") from error
    if fault := _fault(checkpoint):
        raise ConfigurationError(f"{path}: {fault} in this checkpoint. It is damaged, or of another program.")
    return checkpoint


def _fault(found: Checkpoint) -> str:
    """What is of the wrong kind in a checkpoint; empty where nothing is."""
    names, palette = found.label_space.names, found.label_space.palette
    if not isinstance(found.cfg, DictConfig) or not set(BUILT) <= set(found.cfg):
        return "settings without method, network and data"
    if not isinstance(found.state, dict) or not all(isinstance(value, torch.Tensor) for value in found.state.values()):
        return "a state_dict that does not hold tensors"
    if found.base is not None and not isinstance(OmegaConf.select(found.cfg, "network.backbone"), DictConfig):
        return "a file of frozen weights without a backbone"
    if not isinstance(found.step, int) or found.step < 0:
        return "a step that is no number"
    if not 1 <= len(names) <= IGNORE or palette.shape != (len(names), 3) or not all(isinstance(name, str) for name in names):
        return "classes without names and colours"
    return "" if all(isinstance(name, str) for name in found.sources) else "sources that are no names"


def load_method(path: Path, trust: Sequence[str] = (), pretrained: str | Path | None = None) -> Trained:
    """Rebuild the trained method of a checkpoint.

    Args:
        path: The file.
        trust: Packages whose classes may be called, next to those of this library.
        pretrained: Of a checkpoint that leaves the weights of a frozen backbone out: their file; None for that of this user's training.

    Raises:
        ConfigurationError: The file is none of this library or damaged, names classes that are not trusted, does not fit its settings, or
            leaves out weights whose file is missing or differs.
    """
    checkpoint = read_checkpoint(path)
    # From here on nothing but what was checked: the data, too, are built from these settings later.
    checkpoint = checkpoint._replace(cfg=OmegaConf.create(trusted_settings(plain(checkpoint.cfg), path, trust)))
    source = source_of(checkpoint.base, checkpoint.cfg, pretrained, path)
    method = build.rebuilt(lambda: build.build_untrained(checkpoint.cfg, source), path)  # all other weights come from the checkpoint
    method.base = checkpoint.base
    load_weights(method, checkpoint.state, path)
    if method.network.num_classes != (known := len(checkpoint.label_space)):
        raise ConfigurationError(f"{path} is damaged: its network has {method.network.num_classes} classes, its list {known}.")
    return Trained(method.eval(), checkpoint)


def rebuild_data(
    checkpoint: Checkpoint, folder: str | Path | None = None, further: Mapping[str, Any] | None = None
) -> MultiSourceDataModule:
    """The data of a checkpoint's run; with a `folder` they lie there, and no stand-ins are drawn into what is the user's.

    `further` are a command's own settings, as plain containers: what they have in `episodes` replaces settings of a few-shot run's
    episodes; what they have in `data.targets` are targets that the run does not know,
    with its loading, view and classes; the constructor refuses those that do not fit to it.
    """
    cfg = checkpoint.cfg.copy()
    if folder is not None:
        OmegaConf.update(cfg, "paths.data", str(folder))
    added = dict(((further or {}).get("data") or {}).get("targets") or {})
    if known := [name for name in added if any(name in (cfg.data.get(part) or {}) for part in ("sources", "targets", "domains"))]:
        raise ConfigurationError(f"data.targets.{known[0]}: the run has a domain of this name; give the further target another name.")
    for name, node in added.items():
        OmegaConf.update(cfg, f"data.targets.{name}", node, force_add=True)
    for key, value in (further or {}).items() if added else ():  # what the user's own YAML files refer to
        if key not in cfg:
            cfg[key] = value
    _set_episodes(cfg, {key: value for key, value in ((further or {}).get("episodes") or {}).items() if value is not None})
    data = build.build_data(cfg)
    data.added = tuple(added)
    for name in added:
        data.targets[name].evaluate_whole()
    if folder is not None:
        data.stand_in = None
    return data


def _set_episodes(cfg: DictConfig, options: Mapping[str, Any]) -> None:
    """Give the data of a few-shot run, in place, other episodes; refused for other runs."""
    if options and str(cfg.data.get("_target_")).rpartition(".")[2] != EpisodeDataModule.__name__:
        raise ConfigurationError(f"episodes.{next(iter(options))}: this is no few-shot run. Leave it out.")
    for key, value in options.items():
        OmegaConf.update(cfg, f"data.{key}", value, force_add=True)


@contextmanager
def offering_added(data: MultiSourceDataModule, setting: str) -> Iterator[None]:
    """Say in an error about missing data how to leave out the run's own, where others were added."""
    try:
        yield
    except DataError as error:
        if not data.added:
            raise
        raise DataError(f"{error}\n\nFor the added targets alone, without data of the run: {setting}=[{','.join(data.added)}]") from error


def check_added(data: MultiSourceDataModule, targets: Iterable[str]) -> None:
    """Refuse those of the targets that were added and have images that the network was trained on, as far as the sources lie here."""
    added = {name: data.targets[name] for name in targets if name in data.added}
    if added and (absent := require_unseen_here(data.sources, added)):
        log.warning(
            "Whether %s shares images with %s was not checked: these are not here, or not complete.", ", ".join(added), ", ".join(absent)
        )


def load_weights(method: Method, state: dict[str, Any], path: Path) -> None:
    """Give `method` the tensors of a checkpoint; where they do not fit, the error names the first missing, unexpected or mis-shaped one."""
    method.make_room(state)
    if problems := misfits(method.completed(state), method.state_dict()):
        raise ConfigurationError(f"{path} does not fit the method and network of the settings: tensors {problems}.")
    method.load_state_dict(state)


def misfits(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """How many tensors are missing, unexpected or of another shape, each with the first; empty where all fit."""
    faults = {"missing": [name for name in expected if name not in found], "unexpected": [name for name in found if name not in expected]}
    problems = [f"{len(names)} {kind}, first {names[0]}" for kind, names in faults.items() if names]
    shapes = {name: (tuple(found[name].shape), tuple(own.shape)) for name, own in expected.items() if name in found}
    others = [f"{name} with {theirs} instead of {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours]
    return "; ".join([*problems, *([f"{len(others)} of another shape, first {others[0]}"] if others else [])])


def check_same_classes(before: Sequence[str], now: Sequence[str], path: Path) -> None:
    """Refuse labels (`now`) that mean something else than those that a checkpoint was trained with (`before`)."""
    if list(before) == list(now):
        return
    differing = next((k for k, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now)))
    old, new = (f"{names[differing]!r}" if differing < len(names) else "none" for names in (before, now))
    raise ConfigurationError(
        f"{path} was trained with {len(before)} classes, the labels here have {len(now)}; they differ first in class {differing}: {old}"
        f" there, {new} here. Give the data the classes of the checkpoint, in the same order, or train anew."
    )
