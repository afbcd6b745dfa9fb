"""A folder that can be uploaded to a model hub as it is: weights, settings and a model card, Markdown behind a YAML head that hubs read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from pin_memory.exporting.weights import FORMAT, SETTINGS, WEIGHTS, ExportSettings, Source, holds_export_settings, write_pair
from pin_memory.inference import BatchNormStatistics
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.provenance import backbone_licence
from pin_memory.runs.results import RESULTS, Results
from pin_memory.runs.score_table import score_table
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import report_write_errors, write_text

CARD = "README.md"


def model_card(source: Source, settings: ExportSettings, results: Sequence[Results], name: str, licence: str | None) -> str:
    """The text of a model card; `licence` is that of the weights as a hub names it (`cc-by-nc-4.0`), None where none is stated."""
    loader = PackageLoader("pin_memory.exporting", ".")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)
    network = source.method.network
    state = network.state_dict()
    text = environment.get_template("model_card.md.jinja").render(
        front_matter=yaml.safe_dump(_front_matter(settings, results, name, licence), sort_keys=False, allow_unicode=True),
        name=name,
        licence=licence,
        settings=settings,
        checkpoint=source.checkpoint,
        backbone=_backbone(source.checkpoint.cfg.network.backbone),
        tensors=len(state),
        parameters=sum(tensor.numel() for tensor in state.values()),
        memory=None if network.memory is None else list(network.memory.items.shape),
        tables=[score_table(result).markdown() for result in results],
        data=source.data,
    )
    return text.replace("\n\n\n", "\n\n")


def _backbone(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """What a card says of the weights that the backbone began with; a backbone of one's own need not have any."""
    name, pretrained = settings.get("name"), settings.get("pretrained")
    if pretrained is None:
        return {"start": "random weights", "terms": None}
    licence = backbone_licence(settings)
    terms = f"`{name}`, under the licence `{licence}`, which may bind what is trained from them, too" if licence else None
    if pretrained == "imagenet" and name is None:
        return {"start": "torchvision's ImageNet weights (IMAGENET1K_V1)", "terms": "torchvision's weights of ImageNet. See its own terms"}
    known = pretrained in ("timm", "imagenet")
    return {"start": f"timm's weights of `{name}`" if known else "a file of its owner's", "terms": terms}


def _front_matter(settings: ExportSettings, results: Sequence[Results], name: str, licence: str | None) -> dict[str, Any]:
    """What hubs read: library, task, tags, licence where one is stated, and the scores with their protocol."""
    subject = "few-shot-segmentation" if settings.support else "domain-generalization"
    tags = ["semantic-segmentation", subject, settings.method, *(["stand-in"] if settings.stand_in else [])]
    entries = [
        {
            "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
            "dataset": {"type": target, "name": f"{target} (STAND-IN)" if result.stand_in else target},
            "metrics": [{"type": "mean_iou", "name": f"mIoU, protocol {result.protocol}", "value": round(scores.miou, 4)}],
        }
        for result in ([] if settings.support else results)  # which are of other heads
        for target, scores in result.targets.items()
        if scores.miou is not None
    ]
    head: dict[str, Any] = {"library_name": "pin_memory", "pipeline_tag": "image-segmentation", "tags": tags}
    return head | ({"license": licence} if licence else {}) | ({"model-index": [{"name": name, "results": entries}]} if entries else {})


def write_hub(folder: Path, source: Source, settings: ExportSettings, card: str) -> list[Path]:
    """Write `model.safetensors`, `config.json` and `README.md`, the model card, to a folder that is new, empty or of an earlier export."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not holds_export_settings(folder / SETTINGS)):
        raise OutputError(
            f"output={folder}: expected a new or empty folder, or one that was exported before ({SETTINGS} with format {FORMAT}); it holds"
            " other things, which are left as they are. Choose another folder."
        )
    write_pair(folder / WEIGHTS, folder / SETTINGS, source.method.network, settings)
    with report_write_errors(folder / CARD):
        write_text(folder / CARD, card)
    return [folder / WEIGHTS, folder / SETTINGS, folder / CARD]


def results_of_source(source: Source, given: Sequence[str] | str | None) -> list[Results]:
    """The results of a checkpoint: those of `given` files or folders, which must be of this very checkpoint, or those of its run."""
    if given is None:
        own = source.run.results_of(source.path)
        return [] if own is None else [own]
    found = []
    for name in [given] if isinstance(given, str) else given:
        path = Path(name).expanduser()
        folder = RunFolder(path if path.is_dir() else path.parent)
        if folder.results is None:
            raise ConfigurationError(f"results={name}: expected a {RESULTS} of this library or its folder, found none in {folder.path}.")
        results = folder.results_of(source.path)
        if results is None:
            raise ConfigurationError(
                f"results={name} are those of {folder.results.checkpoint}, not {source.path}. Evaluate this checkpoint:"
                f" pin-memory evaluate checkpoint={source.path}"
            )
        found.append(results)
    return found


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
