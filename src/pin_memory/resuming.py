"""Going on with a run: from which checkpoint, in which folder, and what a kill may have left there."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory import assembly
from pin_memory.callbacks.checkpoint_io import damage
from pin_memory.callbacks.last_checkpoint import LAST, earlier_states
from pin_memory.documents import read_json, read_yaml
from pin_memory.errors import ConfigurationError
from pin_memory.files import write_text
from pin_memory.methods import Method
from pin_memory.results import RESULTS
from pin_memory.resume_command import AUTO
from pin_memory.settings import check_same_classes
from pin_memory.unfinished import HYDRA_FOLDER

log = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"\.(.{1,40})\.[a-z0-9_]{8}(\.\w+)?")  # what `files.atomic_write` names its files
_OWN = {"last", "best", "before_non_finite", "wandb_id", "metrics", "config", "provenance", "memory_trace", "results", "report"}
_OWN |= {"confusions", "job", "overrides", "hydra"}
_OWN_FOLDERS = ("checkpoints", "panels", "tiles")  # that nobody else writes to
_NOT_COMPARED = ("resume", "paths", "logger", "callbacks")  # they do not change what is trained


class Resumption(NamedTuple):
    """What training goes on from.

    Attributes:
        checkpoint: Whole; None for a run that was stopped before its first one, which starts from the beginning.
        in_place: The run goes on in its own folder, rather than a new one from its state.
    """

    checkpoint: Path | None
    in_place: bool


def find_resumption(resume: str | None, run: Path) -> Resumption | None:
    """Where training is to go on, as the setting `resume` says.

    Args:
        resume: A run folder, a checkpoint file, "auto" for the folder `run` itself, or None.
        run: The folder of the run that is about to start.

    Returns:
        The newest whole checkpoint; None where there is nothing to go on from and nothing was asked for.

    Raises:
        ConfigurationError: There is no such run or file, or none of its checkpoints is whole.
    """
    if not resume:
        return None
    path = run if resume == AUTO else Path(resume).expanduser()
    if path.is_file():
        if fault := damage(path):
            raise ConfigurationError(f"resume={path} is damaged: {fault}. Name the run's folder to go on from its newest whole checkpoint.")
        return Resumption(path, path.resolve().is_relative_to(run.resolve()))
    in_place = path.resolve() == run.resolve()
    states = list(_states(path / "checkpoints"))
    if states:
        return Resumption(_newest_whole(states), in_place)
    if in_place:
        return Resumption(None, True) if (path / "checkpoints").is_dir() else None
    return Resumption(assembly.find_checkpoint(path), in_place)  # which says what is wrong with it


def _states(folder: Path) -> list[Path]:
    """The checkpoints of a run that training can go on from, the newest first; the best one is a whole state, too."""
    found = [folder / LAST, *(path for path, _ in earlier_states(folder)), folder / "best.ckpt"]
    return [path for path in found if path.is_file()]


def _newest_whole(states: list[Path]) -> Path:
    """The first that is whole; those before it are told.

    Raises:
        ConfigurationError: None is.
    """
    faults: list[str] = []
    for path in states:
        fault = damage(path)
        if fault is None:
            if faults:
                log.warning("Damaged: %s. Going on from %s.", "; ".join(faults), path)
            return path
        faults.append(f"{path} ({fault})")
    raise ConfigurationError(
        f"No checkpoint of the run is whole: {'; '.join(faults)}. Restore one from a backup, or start anew in another folder."
    )


def check_resumption(cfg: DictConfig, found: Resumption, method: Method, sources: list[str], classes: Sequence[str]) -> int:
    """Refuse a checkpoint that training cannot go on from.

    Args:
        cfg: The composed configuration.
        found: With a checkpoint.
        method: As it will be trained; its weights stay as they are.
        sources: Names of the source domains.
        classes: What the train ids of their labels stand for.

    Returns:
        Iterations that the checkpoint has made.

    Raises:
        ConfigurationError: Another method, network or source, other classes, or no step left to make in a new run.
    """
    checkpoint, max_steps = found.checkpoint, cfg.trainer.max_steps
    assert checkpoint is not None
    earlier = assembly.read_checkpoint(checkpoint)
    if earlier.converted:
        raise ConfigurationError(
            f"resume={checkpoint}: a converted checkpoint holds no state to train on from; it can be evaluated and predicted with."
        )
    check_same_classes(earlier.label_space.names, classes, checkpoint)
    untrained = {name: value.clone() for name, value in method.state_dict().items()}  # what is scored as a floor
    assembly.load_weights(method, earlier.state, checkpoint)
    method.load_state_dict(untrained)
    if earlier.sources != sources:
        raise ConfigurationError(f"resume={checkpoint}: trained on {', '.join(earlier.sources)}; this run has {', '.join(sources)}.")
    if 0 <= max_steps <= earlier.step and not found.in_place:
        raise ConfigurationError(f"resume={checkpoint} has made {earlier.step} steps already; set trainer.max_steps above that.")
    return earlier.step


def finished_results(cfg: DictConfig, run: Path, step: int) -> dict[str, Any] | None:
    """The results of a run that has nothing left to do.

    Args:
        cfg: The composed configuration.
        run: The run folder.
        step: Iterations made.

    Returns:
        The content of `results.json`; None while iterations are to be made, or the results are missing or damaged.
    """
    if not (cfg.test and 0 < cfg.trainer.max_steps <= step):
        return None
    try:
        results = read_json(run / RESULTS)
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and "targets" in results else None


def make_ready(cfg: DictConfig, run: Path, found: Resumption, step: int) -> None:
    """Prepare a run's folder for going on in it: clean up, and say which settings are others than before.

    Args:
        cfg: The composed configuration.
        run: The run folder.
        found: What training goes on from.
        step: Iterations made by then.
    """
    for path in _left_behind(run):
        path.unlink(missing_ok=True)
    if found.checkpoint is None:
        log.info("%s was stopped before its first checkpoint: starting from the beginning.", run)
        (run / "metrics.csv").unlink(missing_ok=True)
    elif (results := run / RESULTS).is_file() and not 0 < cfg.trainer.max_steps <= step:
        results.replace(run / f"old_{RESULTS}")  # of fewer iterations; a run without results is one that is not finished
    if changed := _changed(cfg, run):
        log.info("Other settings than before: %s.", "; ".join(changed))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:  # a job of a sweep has its settings from the sweep
        _keep_settings(run, cfg, HydraConfig.get())


def _left_behind(run: Path) -> list[Path]:
    """Temporary files of writes that a kill cut off; only what this library names so."""
    found = []
    for folder in (run, run / HYDRA_FOLDER, *(run / name for name in _OWN_FOLDERS)):
        for path in folder.glob(".*"):
            match = _TEMPORARY.fullmatch(path.name)
            if match is None or not path.is_file():
                continue
            stem, suffix = match[1], match[2] or ""
            if folder.name in _OWN_FOLDERS or stem in _OWN or path.with_name(f"{stem}{suffix}").is_file():
                found.append(path)
    return found


def _changed(cfg: DictConfig, run: Path) -> list[str]:
    """The settings that differ from those that the run was started with, in words."""
    try:
        before = read_yaml(run / "config.yaml")
    except (OSError, ValueError):
        return []
    now = yaml.safe_load(OmegaConf.to_yaml(cfg, resolve=True))  # as the file was written
    old, new = (_flat({key: value for key, value in node.items() if key not in _NOT_COMPARED}) for node in (before, now))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and not key.endswith(".root")]  # where the data lie
    told = [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in changed[:8]]
    return told + ([f"and {len(changed) - 8} more"] if len(changed) > 8 else [])


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: value for name, item in node.items() for key, value in _flat(item, f"{prefix}.{name}" if prefix else str(name)).items()}


def _keep_settings(run: Path, cfg: DictConfig, hydra: Any) -> None:
    """Write the settings of a resumed run where Hydra keeps those of a new one, each file whole or not at all.

    Hydra itself writes over what is there; killed in the midst of it, a run would have lost its settings.

    Args:
        run: The run folder.
        cfg: The composed configuration.
        hydra: Hydra's own, with the overrides.
    """
    overrides = [override for override in hydra.overrides.task if not override.startswith("resume=")]
    write_text(run / HYDRA_FOLDER / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(run / HYDRA_FOLDER / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})))
    write_text(run / HYDRA_FOLDER / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))
