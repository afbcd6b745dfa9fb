"""Evaluate trained networks on their target domains."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate the checkpoints of the configuration."""
    from pin_memory.evaluation.evaluate import evaluate  # imports torch and Lightning, which `--help` does not need

    evaluate(cfg)


if __name__ == "__main__":
    main()
