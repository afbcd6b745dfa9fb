"""The folder of a run: held by one process, with the settings and provenance of the run, ready to be resumed in."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.runs.folder import HYDRA_FOLDER, RunFolder
from pin_memory.runs.old_settings import current_settings
from pin_memory.runs.provenance import provenance
from pin_memory.runs.results import RESULTS
from pin_memory.training.resume.checkpoint import Resumption
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import TEMPORARY, write_text
from pin_memory.utils.locking import exclusive
from pin_memory.utils.signals import StopSignals

log = logging.getLogger(__name__)

_OWN_FOLDERS = ("checkpoints", "panels", "tiles")  # that nobody else writes to
_NOT_COMPARED = ("resume", "paths", "logger", "callbacks")  # they do not change what is trained


@contextmanager
def run_folder(cfg: DictConfig, start: Resumption, step: int) -> Iterator[None]:
    """Hold the folder of a run that starts or is resumed at iteration `step`; a stop signal ends the block with the right exit code."""
    run = Path(cfg.paths.run)
    with StopSignals(), exclusive(run) if is_first() else nullcontext():
        if is_first():
            try:
                (run / "checkpoints").mkdir(parents=True, exist_ok=start.in_place)
            except FileExistsError as error:  # of another run, be it one that starts in the same second
                raise OutputError(f"{run} already holds a run. Start again, or name another folder with hydra.run.dir=DIR.") from error
            if start.in_place:
                _prepare(cfg, run, start, step)
            if cfg.network.backbone.get("pretrained", "by a backbone of the user's own") is None:
                print("The network starts from random weights (network.backbone.pretrained=null).")
            write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            write_text(run / "provenance.json", json.dumps(provenance(), indent=2) + "\n")
        yield


def _prepare(cfg: DictConfig, run: Path, start: Resumption, step: int) -> None:
    """Remove what a kill has left in the folder of a resumed run, and report which settings differ from those on record."""
    for folder in (run, run / HYDRA_FOLDER, *(run / name for name in _OWN_FOLDERS)):
        for path in folder.glob(TEMPORARY):
            path.unlink(missing_ok=True)
    if start.checkpoint is None:
        log.info("%s was stopped before its first checkpoint: starting from the beginning.", run)
        (run / "metrics.csv").unlink(missing_ok=True)
    elif (results := run / RESULTS).is_file() and not 0 < cfg.trainer.max_steps <= step:
        results.replace(run / f"old_{RESULTS}")  # of fewer iterations; a run without results is one that is not finished
    before, now = current_settings(RunFolder(run).config), yaml.safe_load(OmegaConf.to_yaml(cfg, resolve=True))  # as the file was written
    if before and (changed := changed_settings(before, now, most=8, matters=_is_compared)):
        log.info("Other settings than before: %s.", "; ".join(changed))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:  # a job of a sweep has its settings from the sweep
        _keep_settings(run, cfg, HydraConfig.get())


def _is_compared(key: str) -> bool:
    """Whether a setting says something about the training: not where the data are, nor what is written."""
    return key.partition(".")[0] not in _NOT_COMPARED and not key.endswith(".root")


def _keep_settings(run: Path, cfg: DictConfig, hydra: Any) -> None:
    """Write the settings of a resumed run where Hydra keeps those of a new one, each file completely or not at all.

    Hydra itself overwrites what is there; killed while it does, a run would have lost its settings.
    """
    overrides = [override for override in hydra.overrides.task if not override.startswith("resume=")]
    write_text(run / HYDRA_FOLDER / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(run / HYDRA_FOLDER / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})))
    write_text(run / HYDRA_FOLDER / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], most: int, matters: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """The settings that differ between two nested dictionaries, as "key: old before, new now"; those beyond `most` are counted."""
    old, new = _by_dotted_key(before), _by_dotted_key(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and matters(key)]
    texts = [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in changed[:most]]
    return texts + ([f"and {len(changed) - most} more"] if len(changed) > most else [])


def _by_dotted_key(node: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a nested dictionary by their dotted keys."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    parts = (_by_dotted_key(item, f"{prefix}.{name}" if prefix else str(name)) for name, item in node.items())
    return {key: value for part in parts for key, value in part.items()}
