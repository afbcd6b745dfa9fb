"""Make a dashboard for the runs in Weights & Biases, or write it to a file."""

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("dashboard")
def main(cfg: DictConfig) -> None:
    """Make the workspace of the configuration, or write its specification."""
    from pin_memory.loggers.workspace import dashboard, save, specification  # imports torch, which `--help` does not need
    from pin_memory.utils.files import report_write_errors, write_text

    workspace = dashboard(cfg.kind, str(cfg.entity), str(cfg.project), list(cfg.targets), list(cfg.parameters))
    if cfg.output is not None:
        with report_write_errors(cfg.output):
            write_text(cfg.output, specification(workspace))
        print(f"Dashboard {cfg.output}")
    elif cfg.dry_run:
        print(specification(workspace), end="")
    else:
        print(f"Dashboard {save(workspace)}")


if __name__ == "__main__":
    main()
