"""Look into a trained network: features over domains, memory, confusions, gains, as figures and numbers."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("analyze")
def main(cfg: DictConfig) -> None:
    """Analyse the checkpoint of the configuration."""
    from pin_memory.analysis.run import analyze  # imports torch, which `--help` does not need

    analyze(cfg)


if __name__ == "__main__":
    main()
