"""Checkpoints of this library: the record of a run that lies in them, where they are, and the way back to a trained method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.runs.build import build_untrained, rebuilt
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.trusted import checked_settings
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE, LabelSpace
from pin_memory.utils.untrusted import load_weights_only

RECORD = "pin_memory"
"""Key of a checkpoint under which the settings of its run lie."""
_NOT_RECORDED = ("callbacks", "logger", "hydra")
_BUILT = ("method", "network", "data")
"""The settings in a checkpoint from which something is built."""
_RENAMED = {
    "pin_memory.domains.stand_in_layouts.": "pin_memory.domains.stand_ins.",
    "pin_memory.inference.TestStatistics": "pin_memory.inference.BatchNormStatistics",
    "pin_memory.meta.": "pin_memory.methods.",
    "pin_memory.methods.schedules.": "pin_memory.methods.",
}
"""How names of classes in the settings of 0.1.0 began, and how they begin now."""


class RunRecord(Callback):
    """Puts the settings of the run into every checkpoint, as plain containers that load without running code.

    Args:
        record: What `run_record` returned.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.earlier_scores: dict[str, float] = {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Know the newest scores until the first validation after a resumption."""
        self.earlier_scores = checkpoint.get(RECORD, {}).get("source_validation", {})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record and the newest scores on the sources to the checkpoint."""
        checkpoint[RECORD] = self.record | {"source_validation": source_scores(trainer) or self.earlier_scores}


def source_scores(trainer: Trainer) -> dict[str, float]:
    """Mean IoU by source of the newest validation; empty before the first one."""
    return {k.removeprefix("val/miou_"): float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/miou_")}


def run_record(cfg: DictConfig, choices: dict[str, str], run: Path, data: MultiSourceDataModule) -> dict[str, Any]:
    """The settings that rebuild the run's objects.

    Interpolations stay, so that `paths.data` can be given anew when the run is evaluated elsewhere.

    Args:
        cfg: The composed configuration.
        choices: The option chosen of each configuration group.
        run: The run folder.
        data: The domains of the run.
    """
    kept = [str(key) for key in cfg if key not in _NOT_RECORDED]
    config = OmegaConf.to_container(OmegaConf.masked_copy(cfg, kept), resolve=False)
    assert isinstance(config, dict)
    config["paths"] = {"data": str(Path(cfg.paths.data).resolve()), "output": str(cfg.paths.output), "run": str(run)}
    space = {"names": list(data.label_space.names), "palette": data.label_space.palette.tolist()}
    return {"config": config, "choices": choices, "sources": data.source_names, "label_space": space}


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """The checkpoint that a run folder or a file stands for.

    Raises:
        ConfigurationError: There is none.
    """
    path = Path(run_or_checkpoint).expanduser()
    return path if path.is_file() else RunFolder(run_or_checkpoint).checkpoint()


class Checkpoint(NamedTuple):
    """Settings, choices, tensors, training step, classes, sources, scores on them, and whether it is a converted one, of a checkpoint.

    `recorded` are the settings as they lie in the file, from which nothing may be built; `load_method` puts checked ones into `cfg`.
    """

    cfg: DictConfig
    recorded: DictConfig
    choices: dict[str, str]
    state: dict[str, Any]
    step: int
    label_space: LabelSpace
    sources: list[str]
    source_validation: dict[str, float]
    converted: bool


class Trained(NamedTuple):
    """A trained method in eval mode, and the checkpoint it comes from."""

    method: Method
    checkpoint: Checkpoint


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; weights only, no code in it is run.

    Raises:
        ConfigurationError: The file is damaged, not one of this library, or holds code.
    """
    content = load_weights_only(path)
    if not isinstance(content, dict) or RECORD not in content:
        raise ConfigurationError(f"{path} holds no settings of a pin_memory run; expected a checkpoint that pin_memory.train wrote.")
    record = content[RECORD]
    try:
        config = with_present_names(record["config"])
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
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"{path}: the settings in this checkpoint are damaged ({type(error).__name__}: {error}).") from error
    if fault := _fault(checkpoint):
        raise ConfigurationError(f"{path}: {fault} in this checkpoint. It is damaged, or of another program.")
    return checkpoint


def with_present_names(settings: Any) -> Any:
    """Plain settings of an older version with the names that its classes have now."""
    if isinstance(settings, dict):
        return {key: with_present_names(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [with_present_names(value) for value in settings]
    old = next((old for old in _RENAMED if isinstance(settings, str) and settings.startswith(old)), None)
    return settings if old is None else _RENAMED[old] + settings.removeprefix(old)


def _fault(found: Checkpoint) -> str:
    """What is of the wrong kind in a checkpoint; empty where nothing is."""
    names, palette = found.label_space.names, found.label_space.palette
    checks = {
        "settings without method, network and data": isinstance(found.cfg, DictConfig) and {"method", "network", "data"} <= set(found.cfg),
        "a state_dict that does not hold tensors": isinstance(found.state, dict)
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.state.items()),
        "a step that is no number": isinstance(found.step, int) and found.step >= 0,
        "classes without names and colours": 1 <= len(names) <= IGNORE
        and all(isinstance(name, str) for name in names)
        and palette.shape == (len(names), 3),
        "sources that are no names": all(isinstance(name, str) for name in found.sources),
    }
    return next((fault for fault, fine in checks.items() if not fine), "")


def load_method(path: Path, trust: Sequence[str] = ()) -> Trained:
    """Rebuild the trained method of a checkpoint.

    Args:
        path: The checkpoint.
        trust: Packages besides this library whose classes the checkpoint may name, since loading calls them.

    Raises:
        ConfigurationError: The file is damaged, foreign, names classes that are not trusted, or its weights do not fit its settings.
    """
    checkpoint = read_checkpoint(path)
    recorded = OmegaConf.to_container(checkpoint.cfg, resolve=False)
    assert isinstance(recorded, dict)
    # From here on nothing but what was checked: the data, too, are built from these settings later.
    checkpoint = checkpoint._replace(cfg=OmegaConf.create(recorded | checked_settings(recorded, _BUILT, path, trust)))
    method = rebuilt(lambda: build_untrained(checkpoint.cfg), path)  # the weights come from the checkpoint
    load_weights(method, checkpoint.state, path)
    if method.network.num_classes != (known := len(checkpoint.label_space)):
        raise ConfigurationError(f"{path} is damaged: its network tells {method.network.num_classes} classes, its list has {known}.")
    return Trained(method.eval(), checkpoint)


def load_weights(method: Method, state: dict[str, Any], path: Path) -> None:
    """Give `method` the tensors of a checkpoint; all must fit.

    Raises:
        ConfigurationError: They do not; names the first missing, unexpected and mis-shaped one.
    """
    method.make_room(state)
    own = method.state_dict()
    faults = {
        "missing": [k for k in own if k not in state],
        "unexpected": [k for k in state if k not in own],
        "of another shape": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    if any(faults.values()):
        found = "; ".join(f"{len(names)} {kind}, first {names[0]}" for kind, names in faults.items() if names)
        raise ConfigurationError(f"{path} does not fit the method and network of the settings: tensors {found}.")
    method.load_state_dict(state)


def check_same_classes(before: Sequence[str], now: Sequence[str], path: Path) -> None:
    """Refuse labels that mean something else than those a checkpoint was trained with.

    Args:
        before: The classes of the checkpoint.
        now: The classes of the data.
        path: The checkpoint.

    Raises:
        ConfigurationError: They differ in number, names or order.
    """
    if list(before) == list(now):
        return
    differing = next((k for k, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now)))
    old, new = (f"{names[differing]!r}" if differing < len(names) else "none" for names in (before, now))
    raise ConfigurationError(
        f"{path} was trained with {len(before)} classes, the labels here have {len(now)}; they differ first in class {differing}: {old}"
        f" there, {new} here. Give the data the classes of the checkpoint, in the same order, or train anew."
    )
