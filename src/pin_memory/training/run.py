"""A training run from its configuration to its results."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pin_memory.callbacks import LastCheckpoint, PredictionPanels, StepSeeds
from pin_memory.callbacks.run_record import RunRecord, source_scores
from pin_memory.callbacks.step_times import step_costs
from pin_memory.domains import MultiSourceDataModule
from pin_memory.evaluation.report import try_report
from pin_memory.evaluation.targets import copied_weights, evaluate_targets, floor_scores, with_weights, write_evaluation
from pin_memory.loggers import describe_run, finish_wandb, log_scores, log_settings
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.runs.base_weights import base_of
from pin_memory.runs.names import network_name
from pin_memory.runs.provenance import backbone_licence
from pin_memory.runs.results import RESULTS
from pin_memory.training.checks import check_crops, check_kind, check_loggers, check_settings
from pin_memory.training.dry_run import dry_run
from pin_memory.training.resume.folder import check_resumption, find_resumption, finished_results, run_folder
from pin_memory.training.trainer import build_trainer
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import first_names

log = logging.getLogger(__name__)

_NEEDED = (
    ("seeds", StepSeeds, "a resumed run will not draw the noise of one that was never stopped"),
    ("last", LastCheckpoint, "the run saves no last.ckpt, so it cannot be resumed where it was stopped"),
)
"""Callbacks that a resumption needs: their key in the settings, and what is lost without them."""


def train(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """Check settings and data, train, select a checkpoint, evaluate it on the targets; `choices` are the options of the groups.

    Returns the content of `results.json`; where the targets are not to be evaluated (`test=false`) only how the checkpoint was selected.
    """
    build.quiet_lightning()
    if not is_first():  # the first process says it for all
        logging.getLogger("pin_memory").setLevel(logging.WARNING)
    check_settings(cfg)
    shape = build.build_without_weights(cfg)  # whose constructors check their settings, before data are looked for
    check_loggers(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    run = Path(cfg.paths.run)
    start = find_resumption(cfg.resume, run)
    data = _checked_data(cfg)
    trainer = build_trainer(cfg, _callbacks(cfg, choices, data), [])  # loggers need the run folder
    method = _checked_method(cfg, data, trainer, shape)
    del shape  # a network of the user's own has weights here, too
    step = check_resumption(cfg, start, method, data)
    start = start._replace(content=None)  # frees its memory; Lightning reads the file for itself
    if cfg.dry_run:
        return dry_run(cfg, choices, data, method, step)
    if start.in_place and (results := finished_results(cfg, run, step)):
        if is_first():
            print(f"{run} is finished: all {step} iterations are made, and {run / RESULTS} has the scores.")
        return results
    with run_folder(cfg, start, step):
        try:
            trainer.loggers = [logger for logger in instantiate(cfg.logger).values() if logger]
            names = (method.name, network_name(method.network, choices), cfg.seed, data.uses_stand_ins)
            describe_run(*names)
            log_settings(trainer.loggers, run, *names)
            untrained = copied_weights(method.network) if cfg.floors and cfg.test else None
            trainer.fit(method, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
            run = Path(trainer.strategy.broadcast(str(run)))  # each process of torchrun or Slurm has read the clock for itself
            floors = _floors(method, data, trainer, untrained)
            selected = _select(method, trainer, run, cfg.selection)
            about = {"seed": cfg.seed, "devices": trainer.world_size, "floors": floors} | selected | _left_out(cfg, method, data)
            about |= step_costs(trainer)
            about |= {"backbone_licence": licence} if (licence := backbone_licence(OmegaConf.select(cfg, "network.backbone"))) else {}
            return _evaluate(cfg, choices, method, data, trainer, run, about)
        finally:
            finish_wandb()


def _checked_data(cfg: DictConfig) -> MultiSourceDataModule:
    """The data, all there, and sources that can be split; refused before weights are downloaded."""
    data = build.build_data(cfg)
    if "split" in cfg.method:
        instantiate(cfg.method.split).check(data.source_names)
    if is_first():  # other processes of the run start or wait for it
        data.prepare_data()
        data.check(targets=cfg.test)
    return data


def _callbacks(cfg: DictConfig, choices: dict[str, str], data: MultiSourceDataModule) -> list[Callback]:
    """The callbacks of `cfg.callbacks`, and the record of the run, without which no checkpoint could be evaluated or resumed."""
    chosen: list[Callback] = [instantiate(node) for node in cfg.callbacks.values() if node]
    for key, kind, consequence in _NEEDED:
        if not any(isinstance(callback, kind) for callback in chosen):
            log.warning("callbacks.%s is left out: %s.", key, consequence)
    record = RunRecord(checkpoints.run_record(cfg, choices, Path(cfg.paths.run), data))
    return [*chosen, record]


def _checked_method(cfg: DictConfig, data: MultiSourceDataModule, trainer: Trainer, shape: Method) -> Method:
    """A method that fits the data and the Trainer; `shape`, without weights, is refused in a second, before weights are downloaded."""
    check_kind(data, shape, cfg.floors)
    _check_method(shape, data, trainer)
    method = build.build_method(cfg)
    method.base = base_of(method, cfg)
    _check_method(method, data, trainer)
    if is_first():
        data.check_shares(trainer.world_size, targets=cfg.test)
    return method


def _check_method(method: Method, data: MultiSourceDataModule, trainer: Trainer) -> None:
    """Refuse a method that does not fit the data or the Trainer."""
    method.check_sources({name: source.loading.batch_size for name, source in data.sources.items()})
    method.check_classes(data.outputs.names)
    method.check_trainer(trainer)
    check_crops(data, method)
    method.configure_optimizers()  # which check their settings


def _floors(method: Method, data: MultiSourceDataModule, trainer: Trainer, untrained: dict[str, Any] | None) -> dict[str, Any] | None:
    """Scores of predictors that learned nothing, measured after training: the processes have met by then and share the images out."""
    if not untrained:
        return None
    with with_weights(method.network, untrained):
        return floor_scores(data, method.network, trainer.strategy.root_device, protocol=method.protocol)


def _select(method: Method, trainer: Trainer, run: Path, selection: str) -> dict[str, Any]:
    """Load the selected checkpoint into `method`; how it was selected, its path in the run folder and its scores on the sources."""
    if not is_first():  # it gets the weights from the first process, and might look at the disk before a file is there
        return {}
    best, last = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
    if selection == "last" or not (run / best).is_file():  # its weights are those that training ended with
        kept = last if (run / last).is_file() else None  # none where the settings leave callbacks.last out
        scores = source_scores(trainer) or (checkpoints.read_checkpoint(run / last).source_validation if kept else {})
        return {"checkpoint": kept, "selection": f"last (step {trainer.global_step})", "source_validation": scores}
    found = checkpoints.read_checkpoint(run / best)
    method.load_state_dict(found.state)
    rule = f"best source validation (step {found.step})"
    return {"checkpoint": best, "selection": rule, "source_validation": found.source_validation}


def _left_out(cfg: DictConfig, method: Method, data: MultiSourceDataModule) -> dict[str, Any]:
    """The steps and bad samples that training continued without, for the results, and a line for each source that has some."""
    skipped = {"skipped": method.finite.skipped} if method.finite.policy == "skip" else {}
    if cfg.loading.on_bad_sample != "skip":
        return skipped
    found = data.bad_samples()
    for name, bad in found.items() if is_first() else ():
        log.warning(
            "%s: %d training samples could not be read (%s); %d draws were given others.",
            name, len(bad["samples"]), first_names(bad["samples"]), bad["draws"],
        )  # fmt: skip
    return skipped | {"bad_samples": found}


def _evaluate(
    cfg: DictConfig,
    choices: dict[str, str],
    method: Method,
    data: MultiSourceDataModule,
    trainer: Trainer,
    run: Path,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Evaluate the method on the targets, unless `test=false`, and write results and report."""
    if not cfg.test:
        if is_first():
            try_report(run)
        return about | {"stand_in": data.uses_stand_ins}
    results = evaluate_targets(method, data, trainer, choices, **about)
    if is_first():
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        write_evaluation(results, run, next((panels.overview for panels in callbacks if isinstance(panels, PredictionPanels)), None))
        log_scores(trainer.loggers, results.to_json(), trainer.global_step)
    return results.to_json()
