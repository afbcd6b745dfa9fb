"""A dry run (`dry_run=true`): all checks and two iterations, of which nothing is kept, then the size and duration of the complete run."""

import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from pin_memory.callbacks.progress import describe_seconds
from pin_memory.domains import EpisodeDataModule, MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.runs.names import network_name
from pin_memory.training.checks import slow_precision
from pin_memory.training.trainer import build_trainer
from pin_memory.utils.devices import forget_peak, peak_bytes
from pin_memory.utils.distributed import is_first

STEPS = 2  # iterations of a dry run; the first one is slower than those that follow, so the last one stands for all
_SHORT = {"max_steps": STEPS, "val_check_interval": STEPS, "limit_val_batches": 1}
_SHORT |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar"), False)


def dry_run(cfg: DictConfig, choices: Mapping[str, str], data: MultiSourceDataModule, method: Method, step: int) -> dict[str, Any]:
    """Train for two iterations and one image of each validation, then print the plan of the run from iteration `step` on."""
    if isinstance(method, MemoryLearning):  # what a method does once, over many images, takes one batch
        method.initial_passes, method.initial_batches = 1, 1
    if method.whitening is not None:
        method.whitening.images, method.whitening.trials = 1, 1
    probe = DryRunProbe()
    shortened = cfg.copy()  # with a Trainer that makes two iterations, validates on one image of each source, and writes nothing
    shortened.trainer = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(cfg.trainer, resolve=True)), _SHORT)
    trainer = build_trainer(shortened, [probe], [])
    trainer.fit(method, datamodule=data)
    plan = plan_of(cfg, choices, data, method, probe, step) | {"device": str(trainer.strategy.root_device), "devices": trainer.world_size}
    if is_first():
        print(as_text(plan))
        _remove_hydra_folder()
    return {"dry_run": plan}


class DryRunProbe(Callback):
    """Measures the iterations of a dry run."""

    def __init__(self) -> None:
        self.seconds = 0.0  # from the end of the iteration before to the end of the newest one, with the loading of its images
        self.peak_bytes: int | None = None  # see the function
        self.losses: dict[str, float] = {}  # the newest loss terms by name
        self._ended = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the peak so far."""
        forget_peak(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the time, once a GPU has finished, too."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        now = time.perf_counter()
        self.seconds, self._ended = now - self._ended, now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the memory and the losses."""
        self.peak_bytes = peak_bytes(pl_module.device)
        self.losses = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("loss/")}


def plan_of(
    cfg: DictConfig, choices: Mapping[str, str], data: MultiSourceDataModule, method: Method, probe: DryRunProbe, done: int
) -> dict[str, Any]:
    """What a run is made of, as plain numbers; what has no end is None."""
    steps = cfg.trainer.max_steps if cfg.trainer.max_steps > 0 else None
    every = cfg.trainer.val_check_interval
    parameters = list(method.network.parameters())
    return {
        "name": cfg.name,
        "sources": {name: len(domain.dataset("train")) for name, domain in data.sources.items()},
        **(_episodes_of(data, cfg.test) if isinstance(data, EpisodeDataModule) else _images_of(data, cfg.test)),
        "unit": data.unit,
        "method": method.name,
        "network": network_name(method.network, choices),
        "precision": cfg.trainer.precision,
        "slow_precision": slow_precision(cfg.trainer),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "losses": probe.losses,
        "peak_bytes": probe.peak_bytes,
        "iterations": steps,
        "done": done,
        "validations": None if steps is None else steps // every - done // every,
        "iteration_seconds": probe.seconds,
        "seconds": None if steps is None else probe.seconds * max(steps - done, 0),
        "run": str(cfg.paths.run),
    }


def _images_of(data: MultiSourceDataModule, tested: bool) -> dict[str, Any]:
    """What is evaluated, and the batch of each source."""
    return {
        "validated": {name: len(data.sources[name].evaluated("val", 1)) for name in data.validation_names},
        "targets": {name: len(domain.evaluated("test", 1)) for name, domain in data.targets.items()} if tested else {},
        "batch_sizes": {name: domain.loading.batch_size for name, domain in data.sources.items()},
    }


def _episodes_of(data: EpisodeDataModule, tested: bool) -> dict[str, Any]:
    """As `_images_of`, of episodes."""
    settings = data.settings
    return {
        "validated": {"validation": settings.val_episodes},
        "targets": dict.fromkeys(data.test_stages, settings.episodes) if tested else {},
        "batch_sizes": {"episodes": data.loading.batch_size},
        "episode": f"{settings.way}-way {settings.shot}-shot, fold {settings.fold}, protocol {settings.protocol}",
    }


def as_text(plan: Mapping[str, Any]) -> str:
    """A plan for the terminal."""
    sizes, images = plan["batch_sizes"], sum(plan["batch_sizes"].values()) * plan["devices"]
    equal = f"{next(iter(sizes.values()))} images of each of {len(sizes)} sources"
    unit = plan.get("unit", "images")
    if unit == "episodes":
        equal = f"{next(iter(sizes.values()))} episodes ({plan['episode']})"
    batch = equal if len(set(sizes.values())) == 1 else f"{_counts(sizes)} images"
    place = "on the GPU" if plan["device"].startswith("cuda") else "resident"
    peak = "not measured on this system"
    if plan["peak_bytes"] is not None:
        peak = f"{plan['peak_bytes'] / 2**20:,.0f} MiB {place} at the peak, in each process"
    done = f"; {plan['done']} of them are made" if plan["done"] else ""
    validations = "" if plan["validations"] is None else f"{plan['validations']} times "
    duration = "without an end"
    if plan["seconds"] is not None:
        duration = f"about {describe_seconds(plan['seconds'])} of iterations; the memory's initialisation, validation and test add to that"
    rows = {
        "sources": f"{_counts(plan['sources'])} training images",
        "targets": f"{_counts(plan['targets'])} test {unit}" if plan["targets"] else "not tested (test=false)",
        "batch": f"{batch} on {plan['devices']} device(s): {images} {unit} an iteration",
        "method": f"{plan['method']}, {plan['network']}, {plan['precision']}, {plan['device']}",
        "parameters": f"{plan['parameters']:,} ({plan['trained']:,} trained)",
        "losses": ", ".join(f"{name.removeprefix('loss/')} {value:.3g}" for name, value in plan["losses"].items()),
        "memory": peak,
        "iterations": ("until it is stopped (trainer.max_steps=-1)" if plan["iterations"] is None else str(plan["iterations"])) + done,
        "validation": f"{validations}{_counts(plan['validated'])} {unit}" if plan["validations"] != 0 else "none before the end",
        "iteration": f"{plan['iteration_seconds']:.2f} s with the loading of its images",
        "duration": duration,
        "folder": plan["run"],
    }
    if slow := plan.get("slow_precision"):
        rows["precision"] = slow
    head = f"Plan of {plan['name']} (dry run; {STEPS} iterations were made, nothing of them is kept)"
    return "\n".join([head, *(f"  {title:<11} {text}" for title, text in rows.items())])


def _counts(numbers: Mapping[str, int]) -> str:
    """Name and number of each domain."""
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _remove_hydra_folder() -> None:
    """Remove the folder that Hydra made for this command, unless it holds more than Hydra's own files."""
    if not HydraConfig.initialized():
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - {".hydra", "log.txt", ".lock"}:
        return
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).is_relative_to(folder):
            logging.getLogger().removeHandler(handler)
            handler.close()
    shutil.rmtree(folder)
    with suppress(OSError):  # parents that hold something else stay
        for parent in list(folder.parents)[:2]:
            parent.rmdir()
