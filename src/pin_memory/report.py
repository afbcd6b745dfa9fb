"""Write the report of a run again: one HTML file that opens without network or account."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("report")
def main(cfg: DictConfig) -> None:
    """Write the report of the run folder of the configuration."""
    from pin_memory.evaluation.report import write_report  # imports numpy and jinja2, which `--help` does not need

    print(f"Report    {write_report(str(cfg.run), None if cfg.output is None else str(cfg.output))}")


if __name__ == "__main__":
    main()
