"""Train a segmentation network on source domains and judge it on target domains it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pin_memory.commands import command
from pin_memory.errors import OutputError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from pin_memory.methods import Method


@command("train")
def main(cfg: DictConfig) -> None:
    """Run one training as the configuration says."""
    train(cfg, {key: value for key, value in HydraConfig.get().runtime.choices.items() if value and not key.startswith("hydra/")})


def train(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any] | None:
    """Check the data, train, choose a checkpoint, judge it on the targets.

    Args:
        cfg: The composed configuration.
        choices: The option chosen of each configuration group.

    Returns:
        The content of `results.json`; None where the targets are not to be judged (`test=false`).
    """
    import json

    from hydra.utils import instantiate
    from lightning.pytorch import seed_everything

    from pin_memory import assembly
    from pin_memory.files import write_text
    from pin_memory.judging import floor_scores, judge, report
    from pin_memory.loggers import finish_wandb
    from pin_memory.provenance import provenance

    run = _new_run(Path(cfg.paths.run))
    assembly.quiet_lightning()
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = assembly.build_data(cfg)
    data.prepare_data()
    data.check(targets=cfg.test)
    method = assembly.build_method(cfg)
    method.check_sources(data.source_names, cfg.loading.batch_size)
    if cfg.network.backbone.pretrained is None:
        print("The network starts from random weights (network.backbone.pretrained=null).")

    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_text(run / "provenance.json", json.dumps(provenance(), indent=2) + "\n")
    callbacks = {name: instantiate(node) for name, node in cfg.callbacks.items() if node}
    record = assembly.RunRecord(assembly.run_record(cfg, choices, run))
    try:
        loggers = [logger for logger in instantiate(cfg.logger).values() if logger]
        trainer = assembly.build_trainer(cfg, [*callbacks.values(), record], loggers)
        floors = floor_scores(data, method.network) if cfg.floors and cfg.test else None
        trainer.fit(method, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
        selection = _select(method, trainer, run / "checkpoints", cfg.selection)
        if not cfg.test:
            return None
        results = judge(method, data, trainer, choices, seed=cfg.seed, selection=selection, floors=floors)
        report(results, run, getattr(callbacks.get("panels"), "paths", []))
        return results
    finally:
        finish_wandb()


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


def _select(method: Method, trainer: Trainer, folder: Path, rule: str) -> str:
    """Load the weights that the rule chooses, and say which.

    Args:
        method: Gets the weights.
        trainer: Knows the step of the last ones.
        folder: Of the checkpoints.
        rule: `best` by mean IoU on the sources' validation splits, or `last`. No rule looks at a target.
    """
    from pin_memory.assembly import read_checkpoint
    from pin_memory.errors import ConfigurationError

    if rule not in ("best", "last"):
        raise ConfigurationError(f"selection={rule}: expected best (by source validation) or last.")
    best = folder / "best.ckpt"
    if rule == "last" or not best.is_file():
        return f"last (step {trainer.global_step})"
    _, _, state, step = read_checkpoint(best)
    method.load_state_dict(state)
    return f"best source validation (step {step})"


if __name__ == "__main__":
    main()
