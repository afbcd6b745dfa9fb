"""A training run from its configuration to its results."""

import json
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf

from pin_memory import assembly
from pin_memory.errors import ConfigurationError, OutputError
from pin_memory.files import write_text
from pin_memory.judging import floor_scores, judge, report
from pin_memory.loggers import finish_wandb
from pin_memory.methods import Method
from pin_memory.provenance import provenance

SELECTIONS = ("best", "last")
"""Rules that choose the checkpoint to judge: best mean IoU on the sources' validation splits, or the last. None looks at a target."""


def train(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any] | None:
    """Check settings and data, train, choose a checkpoint, judge it on the targets.

    Args:
        cfg: The composed configuration.
        choices: The option chosen of each configuration group.

    Returns:
        The content of `results.json`; None where the targets are not to be judged (`test=false`).

    Raises:
        UserError: Something is missing or does not fit; told before training starts wherever it can be known by then.
    """
    assembly.quiet_lightning()
    if not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigurationError(f"seed={cfg.seed}: expected a whole number of at least 0.")
    seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.selection not in SELECTIONS:
        raise ConfigurationError(f"selection={cfg.selection}: expected best (by source validation) or last.")
    resume = assembly.find_checkpoint(cfg.resume, "checkpoints/last.ckpt", "checkpoints/best.ckpt") if cfg.resume else None
    data = assembly.build_data(cfg)
    if "split" in cfg.method:
        instantiate(cfg.method.split).check(data.source_names)  # before weights are downloaded
    data.prepare_data()
    data.check(targets=cfg.test)
    method = assembly.build_method(cfg)
    method.check_sources(data.source_names, cfg.loading.batch_size)
    method.check_classes(data.label_space.names)
    if resume:
        _check_resumption(resume, method, data.source_names, cfg.trainer.max_steps)
    run = _new_run(Path(cfg.paths.run))
    _record(cfg, run)
    try:
        callbacks: dict[str, Callback] = {name: instantiate(node) for name, node in cfg.callbacks.items() if node}
        callbacks["record"] = assembly.RunRecord(assembly.run_record(cfg, choices, run, data))
        loggers = [logger for logger in instantiate(cfg.logger).values() if logger]
        trainer = assembly.build_trainer(cfg, list(callbacks.values()), loggers)
        method.check_trainer(trainer)
        floors = floor_scores(data, method.network, trainer.strategy.root_device) if cfg.floors and cfg.test else None
        trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
        if not cfg.test:
            return None
        about = {"seed": cfg.seed, "floors": floors} | _select(method, trainer, run, cfg.selection)
        results = judge(method, data, trainer, choices, **about)
        report(results, run, getattr(callbacks.get("panels"), "paths", []))
        return results
    finally:
        finish_wandb()


def _check_resumption(checkpoint: Path, method: Method, sources: list[str], max_steps: int) -> None:
    """Refuse a checkpoint that training cannot go on from.

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
    if 0 <= max_steps <= earlier.step:
        raise ConfigurationError(f"resume={checkpoint} has made {earlier.step} steps already; set trainer.max_steps above that.")


def _new_run(run: Path) -> Path:
    """Take the run folder, never one that another run has, not even one that starts in the same second.

    Raises:
        OutputError: The folder holds a run.
    """
    try:
        (run / "checkpoints").mkdir(parents=True)
    except FileExistsError as error:
        raise OutputError(f"{run} already holds a run. Start again, or name another folder with hydra.run.dir=DIR.") from error
    return run


def _record(cfg: DictConfig, run: Path) -> None:
    """Write down the settings and where the code comes from; say so when the weights are random."""
    if cfg.network.backbone.pretrained is None:
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
        return {"checkpoint": "checkpoints/last.ckpt", "selection": words, "source_validation": assembly.source_scores(trainer)}
    chosen = assembly.read_checkpoint(run / name)
    method.load_state_dict(chosen.state)
    words = f"best source validation (step {chosen.step})"
    return {"checkpoint": name, "selection": words, "source_validation": chosen.source_validation}
