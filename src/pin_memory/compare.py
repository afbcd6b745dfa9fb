"""Compare the results of runs, over seeds and against a baseline."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("compare")
def main(cfg: DictConfig) -> None:
    """Compare the runs of the configuration."""
    from pin_memory.evaluation.compare import compare_runs  # imports numpy and jinja2, which `--help` does not need

    compare_runs(cfg)


if __name__ == "__main__":
    main()
