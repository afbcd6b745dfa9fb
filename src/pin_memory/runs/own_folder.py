"""The folder that a command keeps its results in: no other run's, and held before settings or log are written there.

Hydra itself writes its records before a command begins, whoever works in the folder. So it makes the folder and nothing else
(conf/hydra/run_folder.yaml), and what it would write is written here.
"""

import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import LogFile, write_text
from pin_memory.utils.processes import is_first

CHECKPOINTS = "checkpoints"  # a folder with one of this name holds a training
HYDRA_FOLDER = ".hydra"
"""Folder in a run's that keeps the settings."""


def new_folder(name: str, composed: str = "") -> str:
    """Make a folder and return its path: `name`, or `name_2`, `name_3`, ... where there is one already, such as of the same second.

    Only one process can make a folder, also of those on several machines that share a disk. A resolver of the configurations: `composed` is
    a setting that Hydra writes last, since OmegaConf follows the references that it replaces, and no folder is to be made for these.
    """
    for number in itertools.count(1) if is_first() else ():  # the other processes of a run have the folder of the first
        folder = Path(name if number == 1 else f"{name}_{number}").expanduser()
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:  # which Hydra meets again, and a command reports
            break
        return str(folder)
    return name


# At import: a launcher's process imports this module when it unpickles the command, and has to name the folder before anything else runs.
OmegaConf.register_new_resolver("pin_memory.new_folder", new_folder, use_cache=True, replace=True)


def keeping_records(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap a command's task so that it holds the command's folder, if it has one, with records of its settings and its log in it.

    A job of a training's sweep does so itself (training/sweeps/job.py), once it knows whether it was finished before. A dry run keeps
    nothing.
    """

    def kept(cfg: DictConfig) -> Any:
        from pin_memory.utils.locking import exclusive  # which `--help` does not need

        hydra: Any = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        is_job = hydra.mode == RunMode.MULTIRUN
        if cfg.get("dry_run") or folder == Path.cwd() or (is_job and hydra.job.config_name == "train"):
            return task(cfg)
        if not is_job:  # Lightning starts the processes of further devices with it
            with read_write(hydra), open_dict(hydra):
                hydra.run.dir = str(folder)
        if not is_first():  # it works for the process that holds the folder
            begin_log()
            return task(cfg)
        with exclusive(folder):
            _check_unused(cfg, folder)
            if not (folder / CHECKPOINTS).is_dir():  # else the resumption does it, once all checks are passed
                write_records(cfg, folder)
            begin_log()
            return task(cfg)

    return kept


def remove_empty(folder: Path, cfg: DictConfig) -> None:
    """Remove a command's folder in that of all runs, which Hydra has made, and the one above it, where nothing is in them."""
    runs = OmegaConf.select(cfg, "paths.output", throw_on_resolution_failure=False)
    with suppress(OSError, ValueError):
        for place in (folder, *folder.parents)[: len(folder.relative_to(Path(str(runs)).absolute()).parts)]:
            place.rmdir()


def _check_unused(cfg: DictConfig, folder: Path) -> None:
    """Refuse a folder that holds a training, unless it is the one that is resumed."""
    resume = cfg.get("resume")
    if (folder / CHECKPOINTS).is_dir() and not (resume and Path(str(resume)).expanduser().resolve().is_relative_to(folder.resolve())):
        raise OutputError(
            f"{folder} already holds a run. Name another folder with hydra.run.dir=DIR, or leave that out for a new one;"
            f" pin-memory train resume={folder} continues the run that is there."
        )


def refuse_run(output: Path) -> None:
    """Refuse the folder of a run as the place of another command's files, which would replace the run's or stand among them."""
    if (output / CHECKPOINTS).is_dir() or (output / HYDRA_FOLDER).is_dir():
        raise OutputError(f"output={output} is the folder of a run. Name another one, such as output={output / 'output'}.")


def write_records(cfg: DictConfig, folder: Path) -> None:
    """Write down what was typed and composed, as Hydra does, each file complete or not at all; the folder has to be held."""
    overrides = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
    write_text(folder / HYDRA_FOLDER / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(folder / HYDRA_FOLDER / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create({"hydra": HydraConfig.get()})))
    write_text(folder / HYDRA_FOLDER / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))


def begin_log() -> None:
    """Open the log file of the command, if it has one."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.begin()
