"""Train a segmentation network on source domains and evaluate it on target domains it has never seen."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pin_memory.cli.command import command, refuse_mistakes, report_failure
from pin_memory.training.resume import complete_arguments


@command("train", complete_arguments)
def main(cfg: DictConfig) -> float | None:
    """Run one training as the configuration says; in a sweep, return the mean IoU on the sources' validation splits."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from pin_memory.training.sweeps.job import run_job

        return run_job(_train_job, cfg, report_failure)
    _train(cfg)
    return None


def _train_job(cfg: DictConfig) -> dict[str, Any]:
    """Train as one job of a sweep, whose mistakes are on its record."""
    refuse_mistakes(cfg, "train")
    return _train(cfg)


def _train(cfg: DictConfig) -> dict[str, Any]:
    """Train with the options of the groups that were chosen."""
    from pin_memory.training.run import train  # imports torch and Lightning, which `--help` does not need

    return train(cfg, {key: value for key, value in HydraConfig.get().runtime.choices.items() if value and not key.startswith("hydra/")})


if __name__ == "__main__":
    main()
