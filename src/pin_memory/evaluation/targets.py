"""A network evaluated on its target domains, the files that a run keeps of it, and floors: what predictors reach that learned nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from pin_memory.domains import DomainDataModule, EpisodeDataModule, MultiSourceDataModule
from pin_memory.domains.loading.views import find_view
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.evaluation.episodes import episode_targets, spread_of
from pin_memory.evaluation.report import try_report
from pin_memory.inference import WHOLE, Protocol
from pin_memory.inference.protocols import recorded_name
from pin_memory.loggers import log_targets
from pin_memory.methods import MetaSegNet, Method
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion, LabelPrior, class_iou
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.image_scores import IMAGES, write_image_scores
from pin_memory.runs.names import network_name
from pin_memory.runs.provenance import revision
from pin_memory.runs.results import CONFUSIONS, RESULTS, Results, TargetScores, known_mean, write_confusions
from pin_memory.runs.score_table import score_table
from pin_memory.utils.distributed import broadcast_state, gather_objects
from pin_memory.utils.images import normalize
from pin_memory.utils.labels import CLASSES
from pin_memory.utils.tables import FORMATS, write_table


def evaluate_targets(method: Method, data: MultiSourceDataModule, trainer: Trainer, choices: Mapping[str, str], **about: Any) -> Results:
    """Test a method on every target by its protocol, and write the pixel counts; `about` are further fields of the results."""
    use_views(data, method.protocol)
    if variant := choices.get("variant"):
        about["variant"] = variant
    trainer.test(method, datamodule=data, verbose=False)
    if isinstance(method, MetaSegNet):
        assert isinstance(data, EpisodeDataModule)  # checked before training
        targets = episode_targets(method, data)
        about["spread"] = spread_of(targets)
    else:
        targets = _domain_targets(method, data, trainer)
    return Results(
        method=method.name,
        network=network_name(method.network, choices),
        sources=data.source_names,
        protocol=recorded_name(method.protocol),
        protocol_settings=method.protocol.settings,
        statistics=str(method.test_statistics),
        stand_in=data.uses_stand_ins,
        images_seen=int(method.images_seen),
        targets=targets,
        mean_miou=known_mean(scores.miou for scores in targets.values()),
        revision=revision(),
        **about,
    )


def _domain_targets(method: Method, data: MultiSourceDataModule, trainer: Trainer) -> dict[str, TargetScores]:
    """The scores of the targets of the newest test, whose pixel counts and scores of single images are written."""
    confusions = {name: confusion.compute().cpu() for name, confusion in method.confusions.items()}
    parts = gather_objects(method.image_scores)
    if trainer.is_global_zero:
        folder = Path(trainer.default_root_dir)
        write_confusions(folder / CONFUSIONS, confusions)
        images = {target: {name: score for part in parts for name, score in part[target].items()} for target in confusions}
        write_image_scores(folder / IMAGES, images)
    return {name: _scores_of(data, name, counts) for name, counts in confusions.items()}


def use_views(data: MultiSourceDataModule, protocol: Protocol) -> None:
    """Show the targets by the views that the protocol prescribes for their readers, in place of their own."""
    for domain in data.targets.values():
        if view := protocol.views.get(domain.reader.__name__):
            domain.view = find_view(view)


def target_scores(
    confusion: Tensor | np.ndarray,
    classes: Sequence[str] = CLASSES,
    occurring: Sequence[str] | None = None,
    subsets: Mapping[str, Sequence[str]] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> TargetScores:
    """Scores from pixel counts `(K, K)`, rows are the ground truth; means are over the classes that occur, whatever was predicted."""
    values = dict(zip(classes, class_iou(torch.as_tensor(confusion)).tolist(), strict=True))
    known = set(classes if occurring is None else occurring)
    iou = {name: value if name in known and np.isfinite(value) else None for name, value in values.items()}
    means = {name: known_mean(iou.get(member) for member in members) for name, members in (subsets or {}).items()}
    return TargetScores(means={"miou": known_mean(iou.values()), **means}, iou=iou, conditions=dict(conditions or {}))


def _scores_of(data: MultiSourceDataModule, target: str, confusion: Tensor) -> TargetScores:
    """The scores of a target, with what they depend on besides the network: classes, tree on disk, view, sizes of image and label."""
    domain = data.targets[target]
    dataset, view = domain.dataset("test"), domain.view
    image, label = (size if isinstance(size, str) else size * dataset.layout.scale for size in (view.image_scale, view.label_scale))
    conditions = {
        "images": len(evenly_spaced(dataset.samples, domain.loading.max_test_images)),
        "classes": list(dataset.classes),
        "layout": dataset.layout.name,
        "view": view.name,
        "image_scale": image,
        "label_scale": label,
        **({"corruption": str(domain.corruption)} if domain.corruption else {}),
        **({"added": True} if target in data.added else {}),
    }
    return target_scores(confusion, data.label_space.names, dataset.classes, data.score_subsets, conditions)


def write_evaluation(results: Results, folder: Path, overview: Path | None, tables: Sequence[str] = tuple(FORMATS)) -> None:
    """Write results, tables of the formats and report into a folder, log into W&B, and print the table and where everything is."""
    results.write(folder / RESULTS)
    write_table(score_table(results, class_gains=True), folder / "results", tables)
    print(f"\n{score_table(results).text()}\n")
    print(f"Results   {folder / RESULTS}")
    if overview:
        print(f"Picture   {overview}")
    log_targets(results.to_json(), results.kinds())
    if written := try_report(folder):
        print(f"Report    {written}")


Floors = dict[str, dict[str, float | None]]
"""mIoU by name of the floor and target."""
_FLOORS = ("untrained network", "most frequent class", "most frequent class at each place")


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
    """MIoU of the floors on every target; the processes of a run that have met share the images, and all have to call this."""
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
            classes = domain.dataset("test").classes
            for name, confusion in zip(_FLOORS, counts, strict=True):
                floors[name][target] = target_scores(confusion.compute(), data.label_space.names, classes).miou
    return floors


@torch.inference_mode()
def _count_floors(
    domain: DomainDataModule, untrained: MemorySegmenter, prior: LabelPrior, device: torch.device | str, protocol: Protocol
) -> list[DomainConfusion]:
    """Confusion matrices of the floors on this process's share of one target; nothing waits for the device."""
    counts = [DomainConfusion(untrained.num_classes).to(device) for _ in _FLOORS]
    for batch in domain.test_dataloader():
        images, label = (batch[part].to(device, non_blocking=True) for part in ("image", "label"))
        images = normalize(images).to(next(untrained.parameters()).dtype)  # double of trainer.precision=64-true
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
