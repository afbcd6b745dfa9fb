"""Judge a trained network on its target domains."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pin_memory.commands import command


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Judge the checkpoint of the configuration."""
    evaluate(cfg)


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Rebuild the network and the targets of a run, and judge it.

    Args:
        cfg: The composed configuration.

    Returns:
        The content of `results.json`.

    Raises:
        ConfigurationError: No checkpoint, or a target that the run does not know.
        DataError: A target's data is missing.
    """
    from lightning.pytorch import Trainer
    from omegaconf import OmegaConf

    from pin_memory import assembly
    from pin_memory.callbacks import PredictionPanels, TrainingProgress
    from pin_memory.errors import ConfigurationError
    from pin_memory.judging import floor_scores, judge, report

    assembly.quiet_lightning()
    path = assembly.find_checkpoint(cfg.checkpoint)
    trained = assembly.load_method(path)
    if cfg.paths.data:
        OmegaConf.update(trained.cfg, "paths.data", str(cfg.paths.data))
    data = assembly.build_data(trained.cfg)
    unknown = set(cfg.targets or []) - set(data.target_names)
    if unknown:
        raise ConfigurationError(f"targets={list(cfg.targets)}: the run has the targets {data.target_names}.")
    data.targets = {name: domain for name, domain in data.targets.items() if not cfg.targets or name in cfg.targets}
    data.prepare_data()
    data.check(sources=cfg.floors)
    folder = Path(cfg.paths.run)
    panels = PredictionPanels(folder / "panels")
    trainer = Trainer(accelerator=cfg.accelerator, devices=1, logger=False, callbacks=[panels, TrainingProgress()], default_root_dir=folder)
    floors = floor_scores(data, assembly.build_method(trained.cfg).network) if cfg.floors else None
    about = {
        "seed": trained.cfg.seed,
        "selection": f"{path.name} (step {trained.step})",
        "floors": floors,
        "checkpoint": str(path.resolve()),
    }
    results = judge(trained.method, data, trainer, trained.choices, **about)
    report(results, folder, panels.paths)
    return results


if __name__ == "__main__":
    main()
