"""Check that data sets are there, complete and as expected: `python -m pin_memory.check paths.data=DIR`."""

import sys

from omegaconf import DictConfig

from pin_memory.cli.command import command


@command("check")
def main(cfg: DictConfig) -> None:
    """Check the data sets of the configuration; exit code 1 when something that is needed is missing or wrong."""
    from pin_memory.domains.checks.run import run_check  # imports torch, which `--help` does not need

    if run_check(cfg).failed:
        sys.stdout.flush()
        sys.exit(1)


if __name__ == "__main__":
    main()
