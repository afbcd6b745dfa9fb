"""Judge a trained network on its target domains."""

from omegaconf import DictConfig

from pin_memory.commands import command


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Judge the checkpoint of the configuration."""
    from pin_memory.judging import evaluate  # imports torch and Lightning, which `--help` does not need

    evaluate(cfg)


if __name__ == "__main__":
    main()
