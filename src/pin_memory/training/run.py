"""A training run from its configuration to its results."""

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pin_memory.callbacks import IterationNames, MetricRows, RankBuffers, StepSeeds
from pin_memory.domains import MultiSourceDataModule
from pin_memory.domains.readers.listing import first_names
from pin_memory.evaluation.judge import copied_weights, floor_scores, judge, report, with_weights
from pin_memory.evaluation.report import try_report
from pin_memory.loggers import finish_wandb
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.runs.provenance import provenance
from pin_memory.runs.results import RESULTS
from pin_memory.training.checks import check_settings
from pin_memory.training.planning import dry_run
from pin_memory.training.resume.checkpoint import check_resumption, find_resumption, finished_results
from pin_memory.training.resume.folder import make_ready
from pin_memory.training.resume.training_state import explain_restoring
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import write_text
from pin_memory.utils.locking import exclusive
from pin_memory.utils.signals import StopSignals

log = logging.getLogger(__name__)

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
    build.quiet_lightning()
    _check_settings(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    run = Path(cfg.paths.run)
    resumed = find_resumption(cfg.resume, run)
    data = _checked_data(cfg)
    method = _checked_method(cfg, data)
    step = check_resumption(cfg, resumed, method, data.source_names, data.label_space.names) if resumed and resumed.checkpoint else 0
    if cfg.dry_run:
        return dry_run(cfg, choices, data, method, step)
    if resumed and resumed.in_place and (results := finished_results(cfg, run, step)):
        if is_first():
            print(f"{run} is finished: all {step} iterations are made, and {run / RESULTS} has the scores.")
        return results
    with StopSignals(), exclusive(run) if is_first() else nullcontext():
        if is_first():
            _make_folder(run, may_exist=resumed is not None and resumed.in_place)
            if resumed and resumed.in_place:
                make_ready(cfg, run, resumed, step)
            _record(cfg, run)
        return _train_and_judge(cfg, choices, data, method, resumed.checkpoint if resumed else None)


def _train_and_judge(
    cfg: DictConfig, choices: dict[str, str], data: MultiSourceDataModule, method: Method, checkpoint: Path | None
) -> dict[str, Any]:
    """Train from the beginning or a checkpoint, choose a checkpoint, judge it."""
    run = Path(cfg.paths.run)
    try:
        # The seeds come first: other callbacks may draw.
        callbacks: dict[str, Callback] = {"seeds": StepSeeds(cfg.seed)}
        callbacks |= {name: instantiate(node) for name, node in cfg.callbacks.items() if node}
        callbacks["names"] = IterationNames()
        callbacks |= {"metric_rows": MetricRows(), "rank_buffers": RankBuffers()}
        callbacks["record"] = checkpoints.RunRecord(checkpoints.run_record(cfg, choices, run, data))
        loggers = [logger for logger in instantiate(cfg.logger).values() if logger]
        trainer = build.build_trainer(cfg, list(callbacks.values()), loggers)
        untrained = copied_weights(method.network) if cfg.floors and cfg.test else None
        explain_restoring(trainer, checkpoint)
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        run = Path(trainer.strategy.broadcast(str(run)))  # each process of torchrun or Slurm has read the clock for itself
        floors = None
        if untrained:  # judged now and not before: the processes have met and share the images out
            with with_weights(method.network, untrained):
                floors = floor_scores(data, method.network, trainer.strategy.root_device, protocol=method.protocol)
        # The others get the chosen weights from the first one: they might look at the disk before a file is there.
        chosen = _select(method, trainer, run, cfg.selection) if is_first() else {}
        about = {"seed": cfg.seed, "devices": trainer.world_size, "floors": floors} | chosen | _left_out(cfg, data)
        about |= {"skipped": method.skipped} if method.numerics.policy == "skip" else {}
        results = judge(method, data, trainer, choices, **about) if cfg.test else about | {"stand_in": data.uses_stand_ins}
        if is_first() and cfg.test:
            report(results, run, getattr(callbacks.get("panels"), "paths", []))
        elif is_first():
            try_report(run)
        return results
    finally:
        finish_wandb()


def _left_out(cfg: DictConfig, data: MultiSourceDataModule) -> dict[str, Any]:
    """The bad samples that training went on without, for the results, and a line for each source that has some."""
    if cfg.loading.on_bad_sample != "skip":
        return {}
    found = data.bad_samples()
    for name, bad in found.items() if is_first() else ():
        log.warning(
            "%s: %d training samples could not be read (%s); %d draws were given others.",
            name, len(bad["samples"]), first_names(bad["samples"]), bad["draws"],
        )  # fmt: skip
    return {"bad_samples": found}


def _check_settings(cfg: DictConfig) -> None:
    """Refuse what can be told from the settings alone.

    Raises:
        ConfigurationError: The seed or the selection is none.
    """
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigurationError(f"seed={cfg.seed}: expected a whole number of at least 0.")
    if cfg.selection not in SELECTIONS:
        raise ConfigurationError(f"selection={cfg.selection}: expected best (by source validation) or last.")
    check_settings(cfg)


def _checked_data(cfg: DictConfig) -> MultiSourceDataModule:
    """The data, all there, and sources that can be split; told before weights are downloaded."""
    data = build.build_data(cfg)
    if "split" in cfg.method:
        instantiate(cfg.method.split).check(data.source_names)
    if is_first():  # other processes of the run start or wait for it
        data.prepare_data()
        data.check(targets=cfg.test)
    return data


def _checked_method(cfg: DictConfig, data: MultiSourceDataModule) -> Method:
    """A method that fits the data and the Trainer, of which one is made to look at, before anything is written."""
    trainer = build.build_trainer(cfg, [], [])
    # The one without weights is refused in a second; the other one may have downloaded its own before.
    for made in (build.build_without_weights, build.build_method):
        method = made(cfg)
        method.check_sources(data.source_names, cfg.loading.batch_size)
        method.check_classes(data.label_space.names)
        method.check_trainer(trainer)
        method.configure_optimizers()  # which check their settings
    if is_first():
        data.check_shares(trainer.world_size, targets=cfg.test)
    else:
        logging.getLogger("pin_memory").setLevel(logging.WARNING)  # what is going on is told once
    return method


def _make_folder(run: Path, may_exist: bool) -> None:
    """Take the run folder, never one that another run has, not even one that starts in the same second.

    Args:
        run: The folder.
        may_exist: It is this very run's, which goes on.

    Raises:
        OutputError: The folder holds a run.
    """
    try:
        (run / "checkpoints").mkdir(parents=True, exist_ok=may_exist)
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
        scores = checkpoints.source_scores(trainer) or checkpoints.read_checkpoint(run / "checkpoints/last.ckpt").source_validation
        return {"checkpoint": "checkpoints/last.ckpt", "selection": words, "source_validation": scores}
    chosen = checkpoints.read_checkpoint(run / name)
    method.load_state_dict(chosen.state)
    words = f"best source validation (step {chosen.step})"
    return {"checkpoint": name, "selection": words, "source_validation": chosen.source_validation}
