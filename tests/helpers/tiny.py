"""A segmenter small enough for finite differences."""

from functools import partial
from typing import Any

import torch
from torch import nn

from pin_memory.memory import CategoricalMemory, RidgeMemory, TextPrototypes
from pin_memory.networks import BackboneFeatures, MemorySegmenter, ScoreDecoder, TextAlignment


class TinyBackbone(nn.Module):
    """Three strided convolutions with smooth activations in place of a ResNet."""

    channels = (3, 4, 5)
    output_stride = 16

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 3, 3, stride=4, padding=1), nn.BatchNorm2d(3), nn.Tanh())
        self.middle = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Tanh())
        self.deep = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Tanh())

    def forward(self, images: torch.Tensor) -> BackboneFeatures:
        """The three taps."""
        low = self.low(images)
        middle = self.middle(low)
        return BackboneFeatures(low, middle, self.deep(middle))


def tiny_segmenter(classes: int = 4, memory: bool = True, anchor_weight: float = 0.0, **options: Any) -> MemorySegmenter:
    """A segmenter of a few hundred parameters with a filled memory, no noise and no drop-out."""
    torch.manual_seed(0)
    store = CategoricalMemory(classes, 6, gumbel=False, anchor_weight=anchor_weight) if memory else None
    network = MemorySegmenter(TinyBackbone(), classes, 6, store, auxiliary_channels=4, dropout=0.0, **options)
    if store is not None:
        store.commit(nn.functional.normalize(torch.rand(classes, 6), dim=1))
    return network


def ridge_segmenter(classes: int = 4, balanced: bool = False, **options: Any) -> MemorySegmenter:
    """A segmenter of this size that ends in a ridge regression, with an empty memory."""
    torch.manual_seed(0)
    memory, options = RidgeMemory(classes, 6, balanced=balanced), {"decoder": ScoreDecoder} | options
    return MemorySegmenter(TinyBackbone(), classes, 6, memory, auxiliary_channels=4, dropout=0.0, **options)


def tiny_batch(domains: tuple[str, ...] = ("a", "b", "c"), images: int = 3, classes: int = 4, side: int = 16) -> dict[str, dict[str, Any]]:
    """Random images with labels, some ignored, for each domain."""
    generator = torch.Generator().manual_seed(5)
    batch = {}
    for name in domains:
        label = torch.randint(0, classes, (images, side, side), generator=generator)
        label[torch.rand(label.shape, generator=generator) < 0.1] = 255
        batch[name] = {"image": torch.randn(images, 3, side, side, generator=generator), "label": label, "name": [name] * images}
    return batch


def tiny_alignment(classes: int = 4, dim: int = 8, **options: Any) -> Any:
    """What makes a small alignment with random text, of two layers."""
    text = TextPrototypes(None, classes, dim, rows="random", seed=3)
    return partial(TextAlignment, text=text, **{"width": 8, "layers": 2, "heads": 2, **options})
