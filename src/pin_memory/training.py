"""A training run from its configuration to its results."""

import json
import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pin_memory import assembly
from pin_memory.domains import MultiSourceDataModule
from pin_memory.errors import ConfigurationError, OutputError
from pin_memory.files import write_text
from pin_memory.judging import floor_scores, judge, report
from pin_memory.loggers import finish_wandb
from pin_memory.methods import Method
from pin_memory.provenance import provenance
from pin_memory.ranks import is_first
from pin_memory.reporting import try_report

SELECTIONS = ("best", "last")
"""Rules that choose the checkpoint to judge: best mean IoU on the sources' validation splits, or the last. None looks at a target."""


def train(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """Check settings and data, train, choose a checkpoint, judge it on the targets.

    Args:
        cfg: The composed configuration.
        choices: The option chosen of each configuration group.

    Returns:
        The content of `results.json`; where the targets are not to be judged (`test=false`) nothing but how the checkpoint was chosen.

    Raises:
        UserError: Something is missing or does not fit; told before training starts wherever it can be known by then.
    """
    assembly.quiet_lightning()
    _check_settings(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    resume = assembly.find_checkpoint(cfg.resume, "checkpoints/last.ckpt", "checkpoints/best.ckpt") if cfg.resume else None
    data = _checked_data(cfg)
    method = _checked_method(cfg, data)
    run = Path(cfg.paths.run)
    own = resume is not None and resume.resolve().is_relative_to(run.resolve())  # a run that was cut off goes on in its folder
    if resume:
        _check_resumption(resume, method, data.source_names, cfg.trainer.max_steps, may_be_done=own)
    if is_first():
        if not own:
            _make_folder(run)
        _record(cfg, run)
    try:
        callbacks: dict[str, Callback] = {name: instantiate(node) for name, node in cfg.callbacks.items() if node}
        callbacks["record"] = assembly.RunRecord(assembly.run_record(cfg, choices, run, data))
        loggers = [logger for logger in instantiate(cfg.logger).values() if logger]
        trainer = assembly.build_trainer(cfg, list(callbacks.values()), loggers)
        wanted = cfg.floors and cfg.test and is_first()
        floors = floor_scores(data, method.network, trainer.strategy.root_device, protocol=method.protocol) if wanted else None
        trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
        run = Path(trainer.strategy.broadcast(str(run)))  # each process of torchrun or Slurm has read the clock for itself
        # The others get the chosen weights from the first one: they might look at the disk before a file is there.
        chosen = _select(method, trainer, run, cfg.selection) if is_first() else {}
        about = {"seed": cfg.seed, "devices": trainer.world_size, "floors": floors} | chosen
        results = judge(method, data, trainer, choices, **about) if cfg.test else about | {"stand_in": data.uses_stand_ins}
        if is_first() and cfg.test:
            report(results, run, getattr(callbacks.get("panels"), "paths", []))
        elif is_first():
            try_report(run)
        return results
    finally:
        finish_wandb()


def _check_settings(cfg: DictConfig) -> None:
    """Refuse what can be told from the settings alone.

    Raises:
        ConfigurationError: The seed or the selection is none.
    """
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigurationError(f"seed={cfg.seed}: expected a whole number of at least 0.")
    if cfg.selection not in SELECTIONS:
        raise ConfigurationError(f"selection={cfg.selection}: expected best (by source validation) or last.")


def _checked_data(cfg: DictConfig) -> MultiSourceDataModule:
    """The data, all there, and sources that can be split; told before weights are downloaded."""
    data = assembly.build_data(cfg)
    if "split" in cfg.method:
        instantiate(cfg.method.split).check(data.source_names)
    if is_first():  # other processes of the run start or wait for it
        data.prepare_data()
        data.check(targets=cfg.test)
    return data


def _checked_method(cfg: DictConfig, data: MultiSourceDataModule) -> Method:
    """A method that fits the data and the Trainer, of which one is made to look at, before anything is written."""
    method = assembly.build_method(cfg)
    method.check_sources(data.source_names, cfg.loading.batch_size)
    method.check_classes(data.label_space.names)
    trainer = assembly.build_trainer(cfg, [], [])
    method.check_trainer(trainer)
    if is_first():
        data.check_shares(trainer.world_size, targets=cfg.test)
    else:
        logging.getLogger("pin_memory").setLevel(logging.WARNING)  # what is going on is told once
    return method


def _check_resumption(checkpoint: Path, method: Method, sources: list[str], max_steps: int, may_be_done: bool) -> None:
    """Refuse a checkpoint that training cannot go on from; `may_be_done`: one with all steps made is only to be judged.

    Raises:
        ConfigurationError: Another method, network or source, or no step left to make.
    """
    earlier = assembly.read_checkpoint(checkpoint)
    if earlier.converted:
        raise ConfigurationError(
            f"resume={checkpoint}: a converted checkpoint holds no state to train on from; it can be evaluated and predicted with."
        )
    assembly.load_weights(method, earlier.state, checkpoint)
    if earlier.sources != sources:
        raise ConfigurationError(f"resume={checkpoint}: trained on {', '.join(earlier.sources)}; this run has {', '.join(sources)}.")
    if 0 <= max_steps <= earlier.step and not may_be_done:
        raise ConfigurationError(f"resume={checkpoint} has made {earlier.step} steps already; set trainer.max_steps above that.")


def _make_folder(run: Path) -> None:
    """Take the run folder, never one that another run has, not even one that starts in the same second.

    Raises:
        OutputError: The folder holds a run.
    """
    try:
        (run / "checkpoints").mkdir(parents=True)
    except FileExistsError as error:
        raise OutputError(f"{run} already holds a run. Start again, or name another folder with hydra.run.dir=DIR.") from error


def _record(cfg: DictConfig, run: Path) -> None:
    """Write down the settings and where the code comes from; say so when the weights are random."""
    if cfg.network.backbone.get("pretrained", "by a backbone of the user's own") is None:
        print("The network starts from random weights (network.backbone.pretrained=null).")
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_text(run / "provenance.json", json.dumps(provenance(), indent=2) + "\n")


def _select(method: Method, trainer: Trainer, run: Path, rule: str) -> dict[str, Any]:
    """Load the weights that the rule chooses.

    Args:
        method: Gets the weights.
        trainer: Knows the step of the last ones.
        run: The run folder.
        rule: One of `SELECTIONS`; without a validation there is no best, and the last is taken.

    Returns:
        `checkpoint`, relative to the run folder, `selection`, how it was chosen in words, and its `source_validation`, mIoU by source.
    """
    name = "checkpoints/best.ckpt"
    if rule == "last" or not (run / name).is_file():
        words = f"last (step {trainer.global_step})"
        scores = assembly.source_scores(trainer) or assembly.read_checkpoint(run / "checkpoints/last.ckpt").source_validation
        return {"checkpoint": "checkpoints/last.ckpt", "selection": words, "source_validation": scores}
    chosen = assembly.read_checkpoint(run / name)
    method.load_state_dict(chosen.state)
    words = f"best source validation (step {chosen.step})"
    return {"checkpoint": name, "selection": words, "source_validation": chosen.source_validation}
