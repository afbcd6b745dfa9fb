"""Train a segmentation network on source domains and evaluate it on target domains it has never seen."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pin_memory.cli.command import command, report_failure
from pin_memory.training.resume import complete_arguments


@command("train", complete_arguments)
def main(cfg: DictConfig) -> float | None:
    """Run one training as the configuration says; in a sweep, return the mean IoU on the sources' validation splits."""
    from pin_memory.training.run import train  # imports torch and Lightning, which `--help` does not need
    from pin_memory.training.sweeps.job import run_job

    hydra = HydraConfig.get()
    choices = {key: value for key, value in hydra.runtime.choices.items() if value and not key.startswith("hydra/")}
    if hydra.mode == RunMode.MULTIRUN:
        return run_job(lambda job: train(job, choices), cfg, report_failure)
    train(cfg, choices)
    return None


if __name__ == "__main__":
    main()
