"""A segmenter small enough for finite differences."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pin_memory.memory import CategoricalMemory, Classifier, RidgeMemory, TextPrototypes
from pin_memory.networks import BackboneFeatures, MemorySegmenter, ScoreDecoder, TextAlignment

WAY, SHOT = 2, 2
"""Of the episodes."""


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


def ridge_segmenter(classes: int = 4, balance: float = 0.0, **options: Any) -> MemorySegmenter:
    """A segmenter of this size that ends in a ridge regression, with an empty memory."""
    torch.manual_seed(0)
    memory, options = RidgeMemory(classes, 6, balance=balance), {"decoder": ScoreDecoder} | options
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


def few_shot_segmenter(head: type[Classifier] = RidgeMemory) -> MemorySegmenter:
    """A segmenter of this size that ends in a head, without auxiliary head."""
    torch.manual_seed(0)
    return MemorySegmenter(TinyBackbone(), 2, 6, head(2, 6), auxiliary_channels=None, decoder=ScoreDecoder)


def tiny_episodes(number: int = 3, side: int = 16, seed: int = 0) -> dict[str, Any]:
    """Images of noise in which a class is a colour; some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)

    def part(images: int) -> dict[str, Tensor]:
        cells = torch.randint(0, WAY + 1, (number, images, side // 8, side // 8), generator=generator)
        label = cells.repeat_interleave(8, 2).repeat_interleave(8, 3)
        colours = torch.randn(number, WAY + 1, 3, generator=generator)  # of each episode
        image = torch.stack([colours[n][label[n]] for n in range(number)]).permute(0, 1, 4, 2, 3)
        label = torch.where(torch.rand(label.shape, generator=generator) < 0.1, 255, label)
        return {"image": (image + 0.1 * torch.randn(image.shape, generator=generator)).double(), "label": label}

    parts = part(WAY * SHOT + WAY)
    support, query = ({k: v[:, :4] for k, v in parts.items()}, {k: v[:, 4:] for k, v in parts.items()})
    return {"support": support, "query": query, "classes": torch.tensor([[5, 7]] * number), "name": [f"{n}" for n in range(number)]}
