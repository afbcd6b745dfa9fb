"""The command `compare`: read runs, print one table, write the files."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from pin_memory.evaluation.compare import compare, read_runs
from pin_memory.evaluation.compare_tables import FORMATS, comparison_table, write_comparison
from pin_memory.utils.tables import check_formats


def compare_runs(cfg: DictConfig) -> dict[str, Any]:
    """Compare runs as the configuration of the command says.

    Args:
        cfg: The composed configuration.

    Returns:
        What `comparison.compare` returns.

    Raises:
        ConfigurationError: No results, stand-ins beside real scores, or an unclear baseline.
        OutputError: A file cannot be written.
    """
    formats = check_formats(cfg.formats, "formats", FORMATS)
    runs = read_runs(list(cfg.runs) if isinstance(cfg.runs, ListConfig) else str(cfg.runs))
    comparison = compare(runs, None if cfg.baseline is None else str(cfg.baseline), bool(cfg.over_seeds))
    print(f"\n{comparison_table(comparison).text()}\n")
    if cfg.output is not None:
        for path in write_comparison(comparison, Path(str(cfg.output)).expanduser(), formats):
            print(f"Wrote     {path}")
    return comparison
