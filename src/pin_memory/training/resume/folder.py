"""The folder of a run that is resumed in it: what a kill has left there is removed, and the settings on record become those of now."""

import logging
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.runs.results import RESULTS
from pin_memory.training.resume.changed_settings import changed_settings
from pin_memory.training.resume.checkpoint import Resumption
from pin_memory.training.resume.find import HYDRA_FOLDER
from pin_memory.utils.documents import read_yaml
from pin_memory.utils.files import TEMPORARY, write_text

log = logging.getLogger(__name__)

_OWN_FOLDERS = ("checkpoints", "panels", "tiles")  # that nobody else writes to
_NOT_COMPARED = ("resume", "paths", "logger", "callbacks")  # they do not change what is trained


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
    folders = (run, run / HYDRA_FOLDER, *(run / name for name in _OWN_FOLDERS))
    return [path for folder in folders for path in folder.glob(TEMPORARY) if path.is_file()]


def _changed(cfg: DictConfig, run: Path) -> list[str]:
    """The settings that differ from those that the run was started with, in words."""
    try:
        before = read_yaml(run / "config.yaml")
    except (OSError, ValueError):
        return []
    now = yaml.safe_load(OmegaConf.to_yaml(cfg, resolve=True))  # as the file was written
    return changed_settings(before, now, most=8, matters=_is_compared)


def _is_compared(key: str) -> bool:
    return key.partition(".")[0] not in _NOT_COMPARED and not key.endswith(".root")  # the latter: where the data lie


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
