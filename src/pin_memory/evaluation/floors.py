"""Floors: the mIoU of predictors that learned nothing from the pictures, which a trained network has to exceed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from pin_memory.domains import DomainDataModule, MultiSourceDataModule
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.evaluation.targets import target_scores, use_views
from pin_memory.inference import WHOLE, Protocol
from pin_memory.methods.batches import evaluation_mode
from pin_memory.metrics import DomainConfusion, LabelPrior
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state

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
