"""The results that belong to a checkpoint: those of its run, or files that are named, if they are of this very checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pin_memory.inference import BatchNormStatistics
from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError

RESULTS = "results.json"


def find_results(checkpoint: Path, given: Sequence[str] | str | None) -> list[dict[str, Any]]:
    """Read the results of a checkpoint.

    Args:
        checkpoint: The file.
        given: `results.json` files or the folders that they lie in; None for the one of the run that the checkpoint lies in, if that is
            what the run judged.

    Raises:
        ConfigurationError: A named file holds no results, or those of another checkpoint.
    """
    if given is None:
        path = checkpoint.resolve().parent.parent / RESULTS
        results = _read(path) if path.is_file() else None
        return [results] if results is not None and _judges(results, path, checkpoint) else []
    found = []
    for name in [given] if isinstance(given, str) else given:
        path = Path(name).expanduser()
        path = path / RESULTS if path.is_dir() else path
        results = _read(path)
        if results is None:
            raise ConfigurationError(f"results={name}: expected a {RESULTS} of this library or its folder, found none in {path}.")
        if not _judges(results, path, checkpoint):
            raise ConfigurationError(
                f"results={name} judge {results.get('checkpoint')}, not {checkpoint}. Evaluate this checkpoint:"
                f" pin-memory evaluate checkpoint={checkpoint}"
            )
        found.append(results)
    return found


def measured_by(
    statistics: BatchNormStatistics, found: Sequence[dict[str, Any]], given: Sequence[str] | str | None
) -> list[dict[str, Any]]:
    """Those of the results of `find_results` whose batch norm normalised as that of the exported network does.

    Args:
        statistics: Of the exported network.
        found: The results.
        given: As of `find_results`: what was asked for by name is not left out without a word.

    Raises:
        ConfigurationError: Named results were measured by other statistics.
    """
    fitting = [results for results in found if results.get("statistics") == str(statistics)]
    if given is not None and len(fitting) < len(found):
        other = next(results.get("statistics") for results in found if results not in fitting)
        raise ConfigurationError(
            f"results={given}: measured with test_statistics={other}, but this export normalises by {statistics}, whose scores are others."
            " Export with the same test_statistics, or evaluate with those of the export."
        )
    return fitting


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a results file; None where it is none."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "targets" in content and "protocol" in content else None


def _judges(results: dict[str, Any], path: Path, checkpoint: Path) -> bool:
    """Whether results are of a checkpoint; a run names its own relative to its folder."""
    named = results.get("checkpoint")
    return isinstance(named, str) and (path.parent / named).resolve() == checkpoint.resolve()
