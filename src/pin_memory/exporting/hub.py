"""A folder that can be uploaded to a model hub as it is: weights, settings and a model card. Nothing is sent anywhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from pin_memory.domains import DomainDataModule
from pin_memory.exporting.settings import FORMAT, Source, is_about
from pin_memory.exporting.weights import SETTINGS, WEIGHTS, write_pair
from pin_memory.inference import BatchNormStatistics
from pin_memory.runs.results import Results
from pin_memory.runs.score_table import score_table
from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import report_write_errors, write_text
from pin_memory.utils.tables import STAND_IN_NOTE

CARD = "README.md"
_TERMS = {
    "Synthia": "Published under CC BY-NC-SA 3.0.",
    "BDD100K": "Its own licence, for non-profit use.",
}
"""Terms that are known here, by reader; of all others, and in detail, the data sets' own terms hold."""


def write_hub(
    folder: Path, source: Source, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]], name: str, licence: str | None
) -> list[Path]:
    """Write `model.safetensors`, `config.json` and `README.md`, the model card.

    Args:
        folder: New, empty, or of an earlier export.
        source: What is exported.
        settings: What `about` returned.
        results: Contents of `results.json` files that judge this checkpoint.
        name: Of the model.
        licence: Of the weights, as a hub names it (`cc-by-nc-4.0`); None where it is not stated.

    Returns:
        The files.

    Raises:
        OutputError: The folder holds other things, such as a model that is not of this library, or a file cannot be written.
        ConfigurationError: safetensors is not installed.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_about(folder / SETTINGS)):
        raise OutputError(
            f"output={folder}: expected a new or empty folder, or one that was exported before ({SETTINGS} with format {FORMAT}); it holds"
            " other things, which are left as they are. Choose another folder."
        )
    write_pair(folder / WEIGHTS, folder / SETTINGS, source.method.network, settings)
    with report_write_errors(folder / CARD):
        write_text(folder / CARD, model_card(source, settings, results, name, licence))
    return [folder / WEIGHTS, folder / SETTINGS, folder / CARD]


def model_card(source: Source, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]], name: str, licence: str | None) -> str:
    """The model card: Markdown behind a YAML head that hubs read; arguments as of `write_hub`."""
    environment = Environment(
        loader=PackageLoader("pin_memory.exporting", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    state = source.method.network.state_dict()
    memory = source.method.network.memory
    return (
        environment.get_template("model_card.md.jinja")
        .render(
            front_matter=yaml.safe_dump(front_matter(settings, results, name, licence), sort_keys=False, allow_unicode=True),
            name=name,
            licence=licence,
            about=settings,
            converted=source.checkpoint.converted,
            classes=settings["label_space"]["names"],
            statistics=str(BatchNormStatistics(**settings["statistics"])),
            tensors=len(state),
            parameters=sum(tensor.numel() for tensor in state.values()),
            memory=None if memory is None else list(memory.items.shape),
            training=_training(source, settings),
            tables=[score_table(Results.from_json(result)).markdown() for result in results],
            data=_data(source),
        )
        .replace("\n\n\n", "\n\n")
    )


def front_matter(settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]], name: str, licence: str | None) -> dict[str, Any]:
    """What hubs read: library, task, tags, licence where one is stated, and the scores with their protocol."""
    tags = ["semantic-segmentation", "domain-generalization", settings["method"], *(["stand-in"] if settings["stand_in"] else [])]
    head: dict[str, Any] = {"library_name": "pin_memory", "pipeline_tag": "image-segmentation", "tags": tags}
    if licence:
        head["license"] = licence
    entries = [
        {
            "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
            "dataset": {"type": target, "name": f"{target} (STAND-IN)" if result.get("stand_in") else target},
            "metrics": [{"type": "mean_iou", "name": f"mIoU, protocol {result['protocol']}", "value": round(scores["miou"], 4)}],
        }
        for result in results
        for target, scores in result["targets"].items()
        if scores["miou"] is not None
    ]
    return head | ({"model-index": [{"name": name, "results": entries}]} if entries else {})


def _training(source: Source, settings: Mapping[str, Any]) -> list[str]:
    """Sentences on how the weights came about."""
    checkpoint = source.checkpoint
    pretrained = checkpoint.cfg.network.backbone.pretrained
    start = {None: "random weights", "imagenet": "torchvision's ImageNet weights (IMAGENET1K_V1)"}.get(pretrained, "a file of its owner's")
    lines = [f"Method `{settings['method']}`, network `{settings['network_name']}`, backbone started from {start}."]
    if checkpoint.converted:
        lines.append("Converted from a checkpoint of the method's authors.")
    else:
        lines.append(f"{settings['step']:,} iterations, {settings['images_seen']:,} images, seed {checkpoint.cfg.get('seed')}.")
    if checkpoint.source_validation:
        scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in checkpoint.source_validation.items())
        lines.append(f"mIoU on the sources' validation splits in %: {scores}.")
    return lines


def _data(source: Source) -> list[dict[str, str]]:
    """The data sets of the run, their part in it and their terms."""
    rows = []
    for role, domains in (("source", source.data.sources), ("target", source.data.targets)):
        rows += [{"name": name, "role": role, "title": domain.title, "terms": _terms(domain, source)} for name, domain in domains.items()]
    pretrained = source.checkpoint.cfg.network.backbone.pretrained
    if pretrained == "imagenet":
        rows.append({"name": "ImageNet", "role": "pretrained backbone", "title": "torchvision's weights", "terms": "See its own terms."})
    return rows


def _terms(domain: DomainDataModule, source: Source) -> str:
    """What is known of the licence of a data set."""
    if domain.stand_in or source.data.stand_in is not None:
        return f"{STAND_IN_NOTE.partition(':')[0]}, drawn by the library in its folder layout; no picture of the data set was used."
    known = f"{_TERMS[domain.reader.__name__]} " if domain.reader.__name__ in _TERMS else ""
    return f"{known}See the data set's own terms. From: {domain.reader.download}."
