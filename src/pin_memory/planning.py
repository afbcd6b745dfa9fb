"""The plan of a run (`dry_run=true`): all its checks and two of its iterations, of which nothing is kept."""

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pin_memory import assembly
from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.planning_words import words
from pin_memory.ranks import is_first
from pin_memory.trial import Measured, seconds_to_load

STEPS = 2
"""Iterations made; the first one is slower than those that follow, so the last one is taken for all."""


def dry_run(cfg: DictConfig, choices: Mapping[str, str], data: MultiSourceDataModule, method: Method, step: int) -> dict[str, Any]:
    """Make two iterations on the first batches, print the plan, and keep nothing.

    Args:
        cfg: The composed configuration, already checked.
        choices: The option chosen of each configuration group.
        data: The domains, already checked.
        method: Is trained by the two iterations; of no use afterwards.
        step: Iterations that the checkpoint to go on from has made.

    Returns:
        The plan under "dry_run": plain numbers and words.
    """
    shorten(method)
    measured = Measured(data, targets=cfg.test)
    trainer = assembly.build_trainer(_two_steps(cfg), [measured], [])
    loading = seconds_to_load(data)
    trainer.fit(method, datamodule=data)
    found = plan(cfg, choices, data, method, measured, loading, step) | {"device": str(trainer.strategy.root_device)}
    if is_first():
        print(words(found))
        remove_folder()
    return {"dry_run": found}


def remove_folder() -> None:
    """Remove the folder that Hydra made for this command, unless there is more in it than Hydra's own files."""
    if not HydraConfig.initialized():
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {".hydra", "log.txt"}:
        return
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).is_relative_to(folder):
            logging.getLogger().removeHandler(handler)
            handler.close()
    shutil.rmtree(folder)
    with suppress(OSError):  # parents that hold something else stay
        for parent in list(folder.parents)[:2]:
            parent.rmdir()


def shorten(method: Method) -> None:
    """Let what a method does once, over many images, take one batch."""
    if isinstance(method, MemoryLearning):
        method.initial_passes, method.initial_batches = 1, 1
    if method.whitening is not None:
        method.whitening.images, method.whitening.trials = 1, 1


def _two_steps(cfg: DictConfig) -> DictConfig:
    """The settings with a Trainer that makes two iterations and writes nothing."""
    short = {"max_steps": STEPS, "max_epochs": -1, "limit_val_batches": 0, "enable_checkpointing": False, "enable_progress_bar": False}
    two = cfg.copy()
    two.trainer = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(cfg.trainer, resolve=True)), short)
    return two


def plan(
    cfg: DictConfig,
    choices: Mapping[str, str],
    data: MultiSourceDataModule,
    method: Method,
    measured: Measured,
    loading: float,
    step: int,
) -> dict[str, Any]:
    """What the run will take.

    Args:
        cfg: The composed configuration.
        choices: The option chosen of each configuration group.
        data: The domains.
        method: After its two iterations.
        measured: What they took.
        loading: Seconds of one CPU for the images of an iteration.
        step: Iterations made before.
    """
    settings = next(iter(data.sources.values())).loading
    processes = min(settings.workers * len(data.sources), os.cpu_count() or 1)
    iteration = max(measured.step, loading / processes) if processes else measured.step + loading
    epoch = settings.draws_per_epoch // (settings.batch_size * measured.processes)
    steps = cfg.trainer.max_steps if cfg.trainer.max_steps > 0 else cfg.trainer.max_epochs * epoch
    validated = {name: len(data.sources[name].evaluated("val", 1)) for name in data.validation_names}
    tested = {name: len(domain.evaluated("test", 1)) for name, domain in data.targets.items()} if cfg.test else {}
    once = sum(number * measured.evaluation[name] for name, number in validated.items()) / measured.processes
    test = sum(number * measured.evaluation[name] for name, number in tested.items()) / measured.processes
    validations = _validations(cfg, step, steps)
    trained = [parameter for parameter in method.network.parameters() if parameter.requires_grad]
    return {
        "name": cfg.name,
        "method": method.name,
        "network": choices.get("network", ""),
        "precision": cfg.trainer.precision,
        "sources": {name: len(domain.dataset("train")) for name, domain in data.sources.items()},
        "validated": validated,
        "targets": tested,
        "batch_size": settings.batch_size,
        "devices": measured.processes,
        "images_an_iteration": settings.batch_size * len(data.sources) * measured.processes,
        "parameters": sum(parameter.numel() for parameter in method.network.parameters()),
        "trainable": sum(parameter.numel() for parameter in trained),
        "peak_bytes": measured.memory,
        "checkpoint_bytes": measured.checkpoint,
        "free_bytes": _free(Path(cfg.paths.run)),
        "iterations": steps,
        "done": step,
        "iterations_an_epoch": epoch,
        "validations": validations,
        "losses": measured.terms,
        "seconds": {
            "step": measured.step,
            "loading": loading,
            "iteration": iteration,
            "training": iteration * max(steps - step, 0),
            "initialisation": _initialisation(cfg, method, step, epoch) * iteration / 3,  # a forward pass of the encoder alone
            "validation": once * validations,
            "test": test,
            "floors": test if cfg.floors else 0.0,
        },
        "loading_processes": processes,
        "run": str(cfg.paths.run),
    }


def _validations(cfg: DictConfig, done: int, steps: int) -> int:
    """Validations still to come."""
    every = cfg.trainer.val_check_interval
    return steps // every - done // every if isinstance(every, int) else 0


def _initialisation(cfg: DictConfig, method: Method, done: int, epoch: int) -> int:
    """Batches that a new memory is initialised from."""
    if method.network.memory is None or done:
        return 0
    return int(cfg.initialisation.passes * min(epoch, cfg.initialisation.batches or epoch))


def _free(folder: Path) -> int:
    """Bytes free where the folder is or would be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free
