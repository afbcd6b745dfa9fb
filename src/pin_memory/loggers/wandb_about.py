"""What a W&B run says about itself: its settings, its group, name and tags, and what of the machine it may tell."""

import json
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.loggers.wandb_parts import is_sweep

log = logging.getLogger(__name__)

_LONGEST_TAG = 64  # characters; W&B refuses longer ones
_ABOUT_THE_MACHINE = {
    "x_disable_meta": True, "x_disable_machine_info": True, "x_disable_stats": True, "x_save_requirements": False,
    "disable_job_creation": True, "host": "", "program": "", "x_executable": "", "email": "", "username": "",
}  # fmt: skip
"""Settings of W&B with which neither host name, user, command line, list of packages nor system statistics are collected."""


def privacy(system: bool, known: Collection[str]) -> dict[str, Any]:
    """Settings of W&B, of those `known` to it, that keep at home what says something about the machine, unless it is asked for."""
    if system:
        return {}
    if unknown := [name for name in _ABOUT_THE_MACHINE if name not in known]:
        log.warning(
            "This version of W&B has no setting %s: it may send what says something about this machine. logger.wandb.mode=offline keeps"
            " the run here; constraints.txt has the version that was tested.",
            ", ".join(unknown),
        )
    return {name: value for name, value in _ABOUT_THE_MACHINE.items() if name in known}


def settings_of(run: Path) -> dict[str, Any]:
    """The resolved settings and the provenance that lie in the run folder, as far as they do, and the chosen options of the groups."""
    settings: dict[str, Any] = {}
    try:
        config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)
        settings |= {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}
        settings["provenance"] = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        log.debug("Settings for W&B are incomplete: %s", error)
    if HydraConfig.initialized():  # such as the name of the method, which the settings themselves do not have
        chosen = HydraConfig.get().runtime.choices.items()
        settings["choices"] = {str(group): str(option) for group, option in chosen if option and not str(group).startswith("hydra/")}
    shown = _at_home(settings, {str(run.resolve()): ".", str(Path.home()): "~"})
    return shown if isinstance(shown, dict) else {}


def _at_home(value: Any, places: Mapping[str, str]) -> Any:
    """Settings without the folders of this machine, whose names say who works where, and without passwords in addresses."""
    if isinstance(value, dict):
        return {key: _at_home(part, places) for key, part in value.items()}
    if isinstance(value, list):
        return [_at_home(part, places) for part in value]
    if isinstance(value, str):
        for folder, short in places.items():
            value = value.replace(folder, short)
        return re.sub(r"//[^/@\s]+@", "//", value)
    return value


def group_of(group: str | None, settings: dict[str, Any]) -> str | None:
    """The group of the run: the one that is asked for, else the experiment, for a job of a sweep with the name of the sweep's folder."""
    if group is not None or not isinstance(experiment := settings.get("name"), str):
        return group
    return f"{experiment}/{Path(HydraConfig.get().sweep.dir).name}" if is_sweep() else experiment


def run_name(method: str, seed: int | None) -> str:
    """A name by which runs of a group are told apart: the variant or the method, the seed, and the number of the job in a sweep."""
    job = f" #{HydraConfig.get().job.num}" if is_sweep() else ""
    return f"{_variant() or method} seed {seed}{job}"


def tags_of(method: str, seed: int | None, stand_in: bool) -> list[str]:
    """Labels that runs are filtered by."""
    names = dict.fromkeys([method, _variant() or method])
    found = [*names, f"seed-{seed}", *(["sweep"] if is_sweep() else []), *(["stand-in"] if stand_in else [])]
    return [tag[:_LONGEST_TAG] for tag in found]


def _variant() -> str | None:
    """The option of the group `variant`, where a study chose one."""
    return HydraConfig.get().runtime.choices.get("variant") if HydraConfig.initialized() else None
