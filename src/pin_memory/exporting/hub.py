"""A folder that can be uploaded to a model hub as it is: weights, settings and a model card. Nothing is sent anywhere."""

from collections.abc import Sequence
from pathlib import Path

from pin_memory.exporting.model_card import ModelCard
from pin_memory.exporting.settings import FORMAT, Source, holds_export_settings
from pin_memory.exporting.weights import SETTINGS, WEIGHTS, write_pair
from pin_memory.inference import BatchNormStatistics
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.results import RESULTS, Results
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import report_write_errors, write_text

CARD = "README.md"


def write_hub(folder: Path, card: ModelCard) -> list[Path]:
    """Write `model.safetensors`, `config.json` and `README.md`, the model card, to a folder that is new, empty or of an earlier export."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not holds_export_settings(folder / SETTINGS)):
        raise OutputError(
            f"output={folder}: expected a new or empty folder, or one that was exported before ({SETTINGS} with format {FORMAT}); it holds"
            " other things, which are left as they are. Choose another folder."
        )
    write_pair(folder / WEIGHTS, folder / SETTINGS, card.source.method.network, card.settings)
    with report_write_errors(folder / CARD):
        write_text(folder / CARD, card.markdown())
    return [folder / WEIGHTS, folder / SETTINGS, folder / CARD]


def results_of_source(source: Source, given: Sequence[str] | str | None) -> list[Results]:
    """The results of a checkpoint: those of `given` files or folders, which must be of this very checkpoint, or those of its run."""
    if given is None:
        own = source.run.results_of(source.path)
        return [] if own is None else [own]
    return [_named_results(source.path, name) for name in ([given] if isinstance(given, str) else given)]


def with_statistics(results: Sequence[Results], statistics: BatchNormStatistics, given: Sequence[str] | str | None) -> list[Results]:
    """Those of the results that were measured with these statistics of batch norm; all of them if they were given by name."""
    fitting = [result for result in results if result.statistics == str(statistics)]
    if given is not None and len(fitting) < len(results):
        other = next(result.statistics for result in results if result not in fitting)
        raise ConfigurationError(
            f"results={given}: measured with test_statistics={other}, but this export normalises by {statistics}, whose scores are others."
            " Export with the same test_statistics, or evaluate with those of the export."
        )
    return fitting


def _named_results(checkpoint: Path, name: str) -> Results:
    """The results in a file or a folder, which must be of this checkpoint."""
    path = Path(name).expanduser()
    folder = RunFolder(path if path.is_dir() else path.parent)
    if folder.results is None:
        raise ConfigurationError(f"results={name}: expected a {RESULTS} of this library or its folder, found none in {folder.path}.")
    results = folder.results_of(checkpoint)
    if results is None:
        raise ConfigurationError(
            f"results={name} are those of {folder.results.checkpoint}, not {checkpoint}. Evaluate this checkpoint:"
            f" pin-memory evaluate checkpoint={checkpoint}"
        )
    return results
