"""Train a segmentation network on source domains and judge it on target domains it has never seen."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pin_memory.cli.command import command, report_failure
from pin_memory.training.resume.command_line import with_recorded_settings
from pin_memory.training.sweeps.job import run_job


@command("train", with_recorded_settings)
def main(cfg: DictConfig) -> float | None:
    """Run one training as the configuration says.

    Returns:
        What a sweep makes as large as it can: the mean IoU on the sources' validation splits, never anything of a target.
    """
    return run_job(_train, cfg, report_failure)


def _train(cfg: DictConfig) -> dict[str, Any]:
    from pin_memory.training.run import train  # imports torch and Lightning, which `--help` does not need

    return train(cfg, {key: value for key, value in HydraConfig.get().runtime.choices.items() if value and not key.startswith("hydra/")})


if __name__ == "__main__":
    main()
