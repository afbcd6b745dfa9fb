"""Networks on tiny vision transformers, of which every weight says something."""

from typing import Any

import torch
from torch import nn

from pin_memory.memory import CategoricalMemory, Memory
from pin_memory.networks import (
    FusedDepths,
    LinearDecoder,
    LinearProjection,
    MemorySegmenter,
    SegFormerPyramid,
    TransposedDecoder,
    VitBackbone,
)
from tests.helpers import tiny_vits

NAMES = sorted({name.partition(".")[0] for name in tiny_vits.NAMES})
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"pyramid": LinearProjection, "decoder": LinearDecoder},
    "fusion": {"pyramid": FusedDepths, "decoder": TransposedDecoder},
    "segformer": {"pyramid": SegFormerPyramid, "decoder": LinearDecoder},
}


def vit_segmenter(
    name: str = "vit_nano_patch14_dinov2",
    head: str = "linear",
    memory: Memory | str | None = "categorical",
    classes: int = 19,
    parts: dict[str, Any] | None = None,
    **options: Any,
) -> MemorySegmenter:
    """A network with 8 channels, in evaluation mode, its memory filled; `options` are the backbone's, `parts` the network's."""
    torch.manual_seed(0)
    backbone = VitBackbone(name, **options)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.2)
    store = CategoricalMemory(classes, 8, gumbel=False, shares="area") if memory == "categorical" else memory
    assert not isinstance(store, str)
    network = MemorySegmenter(backbone, classes, 8, store, auxiliary_channels=None, **(HEADS[head] | (parts or {})))
    if isinstance(store, CategoricalMemory):
        store.commit(nn.functional.normalize(torch.rand(classes, 8), dim=1))
    return network.eval()
