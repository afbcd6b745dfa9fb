"""A vision transformer of a few thousand weights as backbone, and networks on it."""

from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from pin_memory.memory import CategoricalMemory, RidgeMemory
from pin_memory.networks import BackboneFeatures, Lora, MemorySegmenter
from pin_memory.networks.checkpointing import checkpoint_blocks
from pin_memory.networks.freezing import Backbone


class TinyVit(Backbone):
    """Three blocks of width 16 on patches of 8 pixels."""

    channels, output_stride = (16, 16, 16), 8

    def __init__(self, checkpointing: bool = False) -> None:
        super().__init__()
        self.net = VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=16,
            depth=3,
            num_heads=2,
            num_classes=0,
            global_pool="",
            init_values=0.5,
            dynamic_img_size=True,
        )
        if checkpointing:
            checkpoint_blocks(self.net)

    def forward(self, images: Tensor) -> BackboneFeatures:
        """The maps behind the blocks."""
        return BackboneFeatures(*self.net.forward_intermediates(images, indices=[0, 1, 2], intermediates_only=True))


def vit_segmenter(
    memory: str | None = "categorical",
    classes: int = 4,
    checkpointing: bool = False,
    dropout: float = 0.0,
    filled: bool = True,
    **options: Any,
) -> MemorySegmenter:
    """A network on it with LoRA of rank 3 in two blocks; `filled`: the updates are no longer zero. Without fused attention."""
    torch.manual_seed(0)
    timm.layers.set_fused_attn(False)  # which has no second derivatives
    try:
        backbone = TinyVit(checkpointing)
    finally:
        timm.layers.set_fused_attn(True)
    kinds: dict[str | None, Any] = {"categorical": CategoricalMemory, "ridge": RidgeMemory, None: lambda *_, **__: None}
    store = kinds[memory](classes, 16, **({"gumbel": False} if memory == "categorical" else {}))
    adapter = Lora(rank=3, alpha=6.0, dropout=dropout, targets=["qkv", "mlp.fc1"], blocks=[-2, -1])
    network = MemorySegmenter(backbone, classes, 16, store, auxiliary_channels=4, dropout=0.0, adapter=adapter, **options)
    for name, parameter in network.named_parameters() if filled else ():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    if isinstance(store, CategoricalMemory):
        store.commit(torch.nn.functional.normalize(torch.rand(classes, 16), dim=1))
    return network
