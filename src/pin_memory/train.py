"""Train a segmentation network on source domains and judge it on target domains it has never seen."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pin_memory.commands import command


@command("train")
def main(cfg: DictConfig) -> None:
    """Run one training as the configuration says."""
    from pin_memory.training import train  # imports torch and Lightning, which `--help` does not need

    train(cfg, {key: value for key, value in HydraConfig.get().runtime.choices.items() if value and not key.startswith("hydra/")})


if __name__ == "__main__":
    main()
