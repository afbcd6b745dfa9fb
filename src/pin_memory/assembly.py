"""From configuration to objects, and from a checkpoint back to them."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra.utils
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from pin_memory.callbacks import AtomicCheckpointIO
from pin_memory.domains import MultiSourceDataModule
from pin_memory.domains.classes import LabelSpace
from pin_memory.errors import ConfigurationError
from pin_memory.methods import Method

RECORD = "pin_memory"
"""Key of a checkpoint under which the settings of its run lie."""
_NOT_RECORDED = ("callbacks", "logger", "hydra")
_TRUSTED = (*(f"pin_memory.{room}." for room in ("methods", "meta", "memory", "networks", "domains", "inference")), "torch.optim.")


class RunRecord(Callback):
    """Puts the settings of the run into every checkpoint, as plain containers that load without running code.

    Args:
        record: What `run_record` returned.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record and the newest scores on the sources to the checkpoint."""
        checkpoint[RECORD] = self.record | {"source_validation": source_scores(trainer)}


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


def build_data(cfg: DictConfig) -> MultiSourceDataModule:
    """The data module of `cfg.data`; nothing is read yet."""
    data = hydra.utils.instantiate(cfg.data)
    assert isinstance(data, MultiSourceDataModule)
    return data


def build_method(cfg: DictConfig) -> Method:
    """The method of `cfg.method` with its network, optimiser and schedule."""
    method = hydra.utils.instantiate(cfg.method)
    assert isinstance(method, Method)
    return method


def build_trainer(cfg: DictConfig, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """Lightning's Trainer with checkpoints that are whole or absent.

    Raises:
        ConfigurationError: Several devices in a sweep, whose jobs Lightning cannot start again for the other devices.
    """
    settings = cfg.trainer.copy()
    if settings.get("sync_batchnorm") == "auto":  # PyTorch has it for GPUs alone; a single device needs none
        settings.sync_batchnorm = torch.cuda.is_available() and settings.accelerator in ("auto", "gpu", "cuda")
    trainer: Trainer = hydra.utils.instantiate(
        settings, callbacks=callbacks, logger=loggers, plugins=[AtomicCheckpointIO()], _convert_="partial"
    )
    if trainer.world_size > 1 and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigurationError(
            f"A sweep trains on one device, found {trainer.world_size}: the processes of the other devices would start the sweep anew."
            " Give each job one device (trainer=default), or start the runs one by one."
        )
    return trainer


def find_checkpoint(run_or_checkpoint: str | Path, *order: str) -> Path:
    """The checkpoint file meant by a run folder or a file.

    Args:
        run_or_checkpoint: A run folder or a checkpoint file.
        order: Names looked for in a run folder; by default the one its `results.json` names, the best by source validation, the last.

    Raises:
        ConfigurationError: There is none.
    """
    path = Path(run_or_checkpoint).expanduser()
    if path.is_file():
        return path
    for name in order or (*_judged(path), "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        if (path / name).is_file():
            return path / name
    found = f"a folder without {path / 'checkpoints' / 'best.ckpt'} or last.ckpt" if path.is_dir() else "nothing"
    raise ConfigurationError(f"{run_or_checkpoint}: expected a run folder (runs/<experiment>/<time>) or a checkpoint file, found {found}.")


def _judged(run: Path) -> list[str]:
    """The checkpoint that a run judged itself by, if it got that far."""
    try:
        return [json.loads((run / "results.json").read_text(encoding="utf-8"))["checkpoint"]]
    except (OSError, ValueError, KeyError):
        return []


class Checkpoint(NamedTuple):
    """Settings, choices, tensors, training step, classes, sources, scores on them, and whether it is a converted one, of a checkpoint."""

    cfg: DictConfig
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
        ConfigurationError: The file is damaged or not one of this library.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is cut, foreign or holds code
        raise ConfigurationError(f"{path} is not a readable checkpoint ({str(error).splitlines()[0]}). Is it complete?") from error
    if not isinstance(content, dict) or RECORD not in content:
        raise ConfigurationError(f"{path} holds no settings of a pin_memory run; expected a checkpoint that pin_memory.train wrote.")
    record = content[RECORD]
    return Checkpoint(
        cfg=OmegaConf.create(record["config"]),
        choices=record["choices"],
        state=content["state_dict"],
        step=content["global_step"],
        label_space=LabelSpace(tuple(record["label_space"]["names"]), np.array(record["label_space"]["palette"], np.uint8)),
        sources=record["sources"],
        source_validation=record["source_validation"],
        converted="official" in record,
    )


def load_method(path: Path, trust: Sequence[str] = ()) -> Trained:
    """Rebuild the trained method of a checkpoint.

    Args:
        path: The checkpoint.
        trust: Packages besides this library whose classes the checkpoint may name, since loading calls them.

    Raises:
        ConfigurationError: The file is damaged, foreign, names classes that are not trusted, or its weights do not fit its settings.
    """
    checkpoint = read_checkpoint(path)
    cfg = checkpoint.cfg.copy()
    OmegaConf.update(cfg, "network.backbone.pretrained", None)  # the weights come from the checkpoint
    called = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "trainer"]), resolve=False)
    check_targets(called, path, trust)
    method = build_method(cfg)
    load_weights(method, checkpoint.state, path)
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


def check_targets(config: Any, path: Path, trust: Sequence[str] = ()) -> None:
    """Let the settings of a checkpoint name only what is trusted.

    Args:
        config: Plain containers.
        path: The file that they come from, for the message.
        trust: Packages besides this library and torch.optim.

    Raises:
        ConfigurationError: It names something else.
    """
    trusted = _TRUSTED + tuple(f"{package.rstrip('.')}." for package in trust)
    if isinstance(config, dict):
        target = config.get("_target_")
        # Also by where the object is defined: a module of ours has torch.save among its attributes.
        if target and not (target.startswith(trusted) and f"{hydra.utils.get_object(target).__module__}.".startswith(trusted)):
            raise ConfigurationError(
                f"{path} names {target}, which loading it would call."
                f" If the file is from somebody you trust, say trust=[{target.split('.')[0]}]."
            )
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        check_targets(value, path, trust)


def quiet_lightning() -> None:
    """Silence Lightning's advertising and the warnings that do not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",
        ".*LeafSpec.*",
        ".*exists and is not empty.*",
        ".*sync_dist=True.*",  # the scores come from confusion matrices that are summed over the ranks
    ):
        warnings.filterwarnings("ignore", message)
