"""Judging a network on its target domains: scores, what they must beat, and the results file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from pin_memory.domains import DomainDataModule, MultiSourceDataModule
from pin_memory.domains.loading.views import find_view
from pin_memory.domains.readers.listing import evenly_spaced
from pin_memory.evaluation.report import try_report
from pin_memory.inference import WHOLE, Protocol
from pin_memory.inference.protocols import recorded_name
from pin_memory.loggers import log_targets
from pin_memory.methods import Method
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion, LabelPrior
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.provenance import provenance
from pin_memory.runs.results import (
    CONFUSIONS,
    RESULTS,
    mean_miou,
    results_table,
    score_table,
    target_result,
    write_confusions,
    write_results,
)
from pin_memory.utils.distributed import broadcast_state
from pin_memory.utils.tables import FORMATS, write_table

Floors = dict[str, dict[str, float | None]]
"""mIoU by name of the floor and target."""
_FLOORS = ("untrained network", "most frequent class", "most frequent class at each place")


def judge(method: Method, data: MultiSourceDataModule, trainer: Trainer, choices: dict[str, str], **about: Any) -> dict[str, Any]:
    """Test `method` on every target by its protocol, and write the pixel counts (`confusions.npz`) into the trainer's folder.

    Args:
        method: With the weights to judge.
        data: Holds the targets.
        trainer: Runs the test loop, with its callbacks.
        choices: Options chosen of the configuration groups; names the network.
        about: What else the results record (seed, selection ...).

    Returns:
        The content of `results.json`.
    """
    use_views(data, method.protocol)
    trainer.test(method, datamodule=data, verbose=False)
    confusions = {name: confusion.compute().cpu() for name, confusion in method.confusions.items()}
    targets = {name: scored(counts, data, name) for name, counts in confusions.items()}
    if trainer.is_global_zero:
        write_confusions(Path(trainer.default_root_dir) / CONFUSIONS, confusions)
    return {
        "method": method.name,
        "network": choices.get("network", type(method.network).__name__),
        "sources": data.source_names,
        "protocol": recorded_name(method.protocol),
        "protocol_settings": method.protocol.settings,
        "statistics": str(method.test_statistics),
        "stand_in": data.uses_stand_ins,
        "images_seen": int(method.images_seen),
        "targets": targets,
        "mean_miou": mean_miou(targets),
        "revision": (provenance()["git"] or {}).get("revision"),
        **about,
    }


def use_views(data: MultiSourceDataModule, protocol: Protocol) -> None:
    """Show the targets by the views that the protocol prescribes for their readers, in place of their own."""
    for domain in data.targets.values():
        if view := protocol.views.get(domain.reader.__name__):
            domain.view = find_view(view)


def scored(confusion: Tensor, data: MultiSourceDataModule, target: str) -> dict[str, Any]:
    """The scores of a target and what they depend on besides the network: classes, tree on disk, view, sizes of image and label."""
    domain = data.targets[target]
    dataset, view = domain.dataset("test"), domain.view
    image, label = (size if isinstance(size, str) else size * dataset.layout.scale for size in (view.image_scale, view.label_scale))
    return {
        **target_result(confusion, data.label_space.names, dataset.classes, data.score_subsets),
        "images": len(evenly_spaced(dataset.samples, domain.loading.max_test_images)),
        "classes": list(dataset.classes),
        "layout": dataset.layout.name,
        "view": view.name,
        "image_scale": image,
        "label_scale": label,
    }


def report(results: dict[str, Any], folder: Path, pictures: list[Path], tables: Sequence[str] = tuple(FORMATS)) -> None:
    """Write `results.json`, its tables and `report.html` into `folder`, log into W&B, and print the table and the paths of the pictures.

    Args:
        results: What `judge` returned.
        folder: The run folder.
        pictures: Panels that were drawn.
        tables: Formats of the tables beside `results.json` (`tables.FORMATS`).
    """
    write_results(folder / RESULTS, results)
    write_table(score_table(results, results.get("floors"), class_gains=True), folder / "results", tables)
    print(f"\n{results_table(results, results.get('floors'))}\n")
    print(f"Results   {folder / RESULTS}")
    for path in pictures:
        print(f"Picture   {path}")
    log_targets(results)
    if written := try_report(folder):
        print(f"Report    {written}")


@contextmanager
def with_weights(network: MemorySegmenter, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a network other weights (a state dict, on any device) within the block."""
    own = copied_weights(network)
    network.load_state_dict(weights)
    try:
        yield
    finally:
        network.load_state_dict(own)


def copied_weights(network: MemorySegmenter) -> dict[str, Tensor]:
    """The state dict as copies that training does not touch."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def floor_scores(
    data: MultiSourceDataModule,
    untrained: MemorySegmenter,
    device: torch.device | str = "cpu",
    labels_per_source: int = 100,
    protocol: Protocol = WHOLE,
) -> Floors:
    """MIoU on every target of predictors that learned nothing from the pictures.

    The processes of a run that have met share the images out, and all have to call this.

    Args:
        data: The class frequencies are counted on its sources' training labels, so no floor looks at a target.
        untrained: A network as it was before training; moved to `device`.
        device: Where it runs.
        labels_per_source: Labels counted of each source, evenly spaced.
        protocol: How the untrained network is applied to an image, and at which view the targets are seen.
    """
    use_views(data, protocol)
    prior = LabelPrior(untrained.num_classes)
    for domain in data.sources.values():
        source = domain.dataset("train")
        for sample in evenly_spaced(source.samples, labels_per_source):
            prior.update(source.read_label(sample))
    floors: Floors = {name: {} for name in _FLOORS}
    untrained.to(device)
    broadcast_state(untrained)
    with evaluation_mode(untrained):  # its modes come back: training starts from it
        for target, domain in data.targets.items():
            counts = _count_floors(domain, untrained, prior, device, protocol)
            for name, confusion in zip(_FLOORS, counts, strict=True):
                floors[name][target] = target_result(confusion.compute(), data.label_space.names, domain.dataset("test").classes)["miou"]
    return floors


@torch.inference_mode()
def _count_floors(
    domain: DomainDataModule, untrained: MemorySegmenter, prior: LabelPrior, device: torch.device | str, protocol: Protocol
) -> list[DomainConfusion]:
    """Confusion matrices of the floors on this process's share of one target; nothing waits for the device."""
    counts = [DomainConfusion(untrained.num_classes).to(device) for _ in _FLOORS]
    for batch in domain.test_dataloader():
        images, label = (batch[part].to(device, non_blocking=True) for part in ("image", "label"))
        height, width = label.shape[-2:]
        layout = torch.from_numpy(prior.layout(height, width)).to(device)
        predictions = (
            protocol.predict(untrained, images, (height, width)),
            torch.full_like(label, prior.constant()),
            layout.expand_as(label),
        )
        for confusion, prediction in zip(counts, predictions, strict=True):
            confusion.update(prediction, label)
    return counts
