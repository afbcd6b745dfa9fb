"""Runs that are stopped and resumed, and what has to be the same as without the stop."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback, Trainer

from pin_memory.networks import BackboneFeatures
from pin_memory.runs.folder import RunFolder
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from tests.helpers.tiny import TinyBackbone

TINY = [
    "experiment=multi_source_gs", "network=deeplab_v3plus_resnet18", "~network.backbone",
    "+network.backbone={_target_:tests.helpers.tiny.TinyBackbone}", "network.channels=8", "network.auxiliary_channels=4",
    "augmentation.crop_size=64", "loading.batch_size=2", "loading.num_workers=0",
    "loading.max_val_images=1", "loading.max_test_images=1", "initialisation.batches=1", "schedule.horizon=40",
    "trainer.max_steps=18", "trainer.val_check_interval=5", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu",
    "callbacks.last.every=3", "callbacks.panels=null", "logger=csv", "paths.output=unused", "test=false",
]  # fmt: skip
"""A validation after every fifth iteration, a checkpoint after every third; with Gumbel noise and drop-out."""


class Killed(BaseException):
    """Stands for the end of the process."""


class Disturbance(Callback):
    """Ends training at a place, once.

    Args:
        hook: Name of the callback's method.
        step: Iterations made by then.
        kind: A signal's name, or "kill": the process ends without a word.
        rank: Number of the process that it happens to; None: to each.
    """

    def __init__(self, hook: str, step: int, kind: str, rank: int | None = None) -> None:
        self.hook, self.step, self.kind, self.rank = hook, step, kind, rank
        setattr(self, hook, self._strike)

    def _strike(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        here = self.rank in (None, trainer.global_rank)
        if here and trainer.state.fn == "fit" and trainer.global_step == self.step and not trainer.sanity_checking:
            if self.kind == "kill":
                raise Killed
            os.kill(os.getpid(), getattr(signal, self.kind))


def fit(data: Path, run: Path, *overrides: str, resume: Path | None = None, disturbed: tuple[str, int, str] | None = None) -> Any:
    """Train in `run`, or resume it; `disturbed` are the arguments of a `Disturbance`, whose exception is let through."""
    given = [*TINY, f"paths.data={data}", f"paths.run={run}", f"resume={resume or 'null'}", *overrides]
    if disturbed:
        hook, step, kind = disturbed
        given.append(f"+callbacks.disturbance={{_target_:tests.helpers.resumption.Disturbance,hook:{hook},step:{step},kind:{kind}}}")
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=given)
    return train(cfg, {"network": "tiny"})


def left(run: Path) -> dict[str, Any]:
    """All that a run leaves and that must not depend on whether it was stopped: weights, memory, optimiser, metrics, best, trace."""
    found: dict[str, Any] = {}
    for name in ("last", "best"):
        content = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        parts = {key: content[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")}
        callbacks = {key.partition("{")[0]: value for key, value in content["callbacks"].items()}
        found[name] = parts | {
            "best": {key: callbacks["BestCheckpoint"][key] for key in ("best_model_score", "best_step")},
            "scores": content["pin_memory"]["source_validation"],
            "trace": callbacks.get("MemoryTrace"),
            "skipped": content["skipped"],
        }
    found["metrics"] = {name: series for name, series in RunFolder(run).metrics.items() if not name.startswith("time/")}
    if (run / "memory_trace.npz").is_file():
        with np.load(run / "memory_trace.npz") as arrays:
            found["trace"] = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    return found


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Names of all that is not bitwise equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = list(dict.fromkeys([*one, *other]))
        return [text for key in keys for text in differences(one.get(key), other.get(key), f"{where}.{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [text for number, pair in enumerate(zip(one, other, strict=True)) for text in differences(*pair, f"{where}.{number}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [f"{where}: tensors {tuple(one.shape)} {tuple(other.shape)}"]
    return [] if one == other or (one != one and other != other) else [f"{where}: {one!r} {other!r}"[:300]]


class WhitenedBackbone(TinyBackbone):
    """With one standardised map, for the whitening loss."""

    whitens = True

    def forward(self, images: torch.Tensor) -> BackboneFeatures:
        """The three taps, and the first one standardised."""
        found = super().forward(images)
        return found._replace(whitened=(torch.nn.functional.instance_norm(found.low_level),))


WHITENED = [
    "method=isw", "network.backbone._target_=tests.helpers.resumption.WhitenedBackbone",
    "method.whitening.warmup_iterations=7", "method.whitening.images=4", "method.whitening.trials=2", "method.whitening.clusters=2",
]  # fmt: skip
"""The method whose choice after seven iterations draws random colours."""
