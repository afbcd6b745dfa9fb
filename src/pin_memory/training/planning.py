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

from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.runs import build
from pin_memory.training.planning_words import words
from pin_memory.training.trial import Measured, seconds_to_load
from pin_memory.utils.distributed import is_first

STEPS = 2
"""Iterations made; the first one is slower than those that follow, so the last one is taken for all."""
_EPOCHS = 1000  # that Lightning makes where neither trainer.max_steps nor trainer.max_epochs is given


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
    trainer = build.build_trainer(_two_steps(cfg), [measured], [])
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
    images, length = _images(cfg, data, measured.processes), _length(cfg, measured.epoch, step)
    return {
        "name": cfg.name,
        "network": choices.get("network", ""),
        "precision": cfg.trainer.precision,
        **images,
        **_size(method, measured),
        **length,
        "seconds": _seconds(cfg, method, measured, loading, images, length),
        "run": str(cfg.paths.run),
        "free_bytes": _free(Path(cfg.paths.run)),
    }


def _images(cfg: DictConfig, data: MultiSourceDataModule, devices: int) -> dict[str, Any]:
    """Numbers of images by domain, in each split and in a batch, and of the processes that load them."""
    batches = {name: domain.loading.batch_size for name, domain in data.sources.items()}
    processes = sum(domain.loading.workers for domain in data.sources.values())
    return {
        "sources": {name: len(domain.dataset("train")) for name, domain in data.sources.items()},
        "validated": {name: len(data.sources[name].evaluated("val", 1)) for name in data.validation_names},
        "targets": {name: len(domain.evaluated("test", 1)) for name, domain in data.targets.items()} if cfg.test else {},
        "batch_sizes": batches,
        "devices": devices,
        "images_an_iteration": sum(batches.values()) * devices,
        "loading_processes": min(processes, os.cpu_count() or 1),
    }


def _size(method: Method, measured: Measured) -> dict[str, Any]:
    """What is trained, and how large it is."""
    parameters = list(method.network.parameters())
    return {
        "method": method.name,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "peak_bytes": measured.memory,
        "checkpoint_bytes": measured.checkpoint,
        "losses": measured.terms,
    }


def _length(cfg: DictConfig, epoch: int, done: int) -> dict[str, Any]:
    """Iterations and validations; None for those of a run without an end."""
    steps, every = iterations(cfg.trainer.max_steps, cfg.trainer.get("max_epochs"), epoch), cfg.trainer.val_check_interval
    validations = steps // every - done // every if steps is not None and isinstance(every, int) else None
    return {"iterations": steps, "done": done, "iterations_an_epoch": epoch, "validations": validations}


def iterations(max_steps: int, max_epochs: int | None, epoch: int) -> int | None:
    """Iterations of a run, which ends at the first of its limits; None without any.

    Args:
        max_steps: Of the Trainer; -1 for no limit.
        max_epochs: Of the Trainer; -1 for no limit; None for none beside `max_steps`, and for Lightning's limit without that.
        epoch: Iterations in an epoch.
    """
    if max_epochs is None:
        max_epochs = _EPOCHS if max_steps == -1 else -1
    limits = [max_steps] if max_steps >= 0 else []
    limits += [max_epochs * epoch] if max_epochs >= 0 else []
    return min(limits, default=None)


def _seconds(
    cfg: DictConfig, method: Method, measured: Measured, loading: float, images: dict[str, Any], length: dict[str, Any]
) -> dict[str, float | None]:
    """How long each part takes; None for what goes on without an end.

    Args:
        cfg: The composed configuration.
        method: After its two iterations.
        measured: What they took.
        loading: Seconds of one CPU for the images of an iteration.
        images: From `_images`.
        length: From `_length`.
    """
    processes, steps = images["loading_processes"], length["iterations"]
    iteration = max(measured.step, loading / processes) if processes else measured.step + loading
    batches = _initialisation(cfg, method, length["done"], length["iterations_an_epoch"])
    once, test = (
        sum(number * measured.evaluation[name] for name, number in images[part].items()) / measured.processes
        for part in ("validated", "targets")
    )
    return {
        "step": measured.step,
        "loading": loading,
        "iteration": iteration,
        "training": None if steps is None else iteration * max(steps - length["done"], 0),
        "initialisation": batches * iteration / 3,  # a forward pass of the encoder alone
        "validation": None if length["validations"] is None else once * length["validations"],
        "test": test,
        "floors": test if cfg.floors else 0.0,
    }


def _initialisation(cfg: DictConfig, method: Method, done: int, epoch: int) -> int:
    """Batches that a new memory is initialised from."""
    if method.network.memory is None or done:
        return 0
    return int(cfg.initialisation.passes * min(epoch, cfg.initialisation.batches or epoch))


def _free(folder: Path) -> int:
    """Bytes free where the folder is or would be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free
