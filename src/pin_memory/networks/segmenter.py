"""The segmentation network with a memory between encoder and decoder, as stages that work with any parameter set."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from pin_memory.errors import ConfigurationError
from pin_memory.memory import CategoricalMemory, Reading
from pin_memory.networks.backbones import ResNetBackbone
from pin_memory.networks.heads import ASPP, AuxiliaryHead, Decoder, resize


class Encoding(NamedTuple):
    """Outputs of the encoder: features F `(B, C, h, w)`, low-level `(B, C1, H/4, W/4)` and auxiliary `(B, C3, h3, w3)` ones.

    `whitened` holds the standardised maps for RobustNet's loss; empty unless the backbone has `instance_norm=isw`.
    """

    features: Tensor
    low_level: Tensor
    auxiliary: Tensor
    whitened: tuple[Tensor, ...] = ()


class MemorySegmenter(nn.Module):
    """A DeepLab network whose features pass through a categorical memory (encoder E, memory M, decoder D).

    DeepLabV3+ by default; `pyramid=SummedASPP` and `decoder=PlainDecoder` make it DeepLabV2.

    Training calls the stages one by one: `encode`, `read` or `write`, `decode`. `torch.func.functional_call` enters a module only through
    `forward`, so `forward(..., stage="write")` is the door for fast weights; without `stage` it segments.

    Args:
        backbone: Gives low-level, auxiliary and deep features.
        num_classes: K; the memory has one item per class.
        channels: C of features, memory items and decoder.
        memory: The categorical memory, or None for the plain network of the baselines.
        auxiliary_channels: Width of the auxiliary head.
        dropout: Drop-out probability of the auxiliary head.
        pyramid: Makes the pyramid from the channels of the deep features, C and the output stride.
        decoder: Makes the decoder from the channels of the low-level features, C and K.

    Raises:
        ConfigurationError: The memory's items are not K of C channels.
    """

    def __init__(
        self,
        backbone: ResNetBackbone,
        num_classes: int = 19,
        channels: int = 256,
        memory: CategoricalMemory | None = None,
        auxiliary_channels: int = 512,
        dropout: float = 0.1,
        pyramid: Callable[[int, int, int], nn.Module] = ASPP,
        decoder: Callable[[int, int, int], nn.Module] = Decoder,
    ) -> None:
        super().__init__()
        if memory is not None and (memory.num_classes, memory.channels) != (num_classes, channels):
            raise ConfigurationError(
                f"network.memory: expected {num_classes} items of {channels} channels as the network has,"
                f" found {memory.num_classes} of {memory.channels}."
            )
        low_level, auxiliary, deep = backbone.channels
        self.num_classes = num_classes
        self.backbone = backbone
        self.aspp = pyramid(deep, channels, backbone.output_stride)
        self.memory = memory
        self.decoder = decoder(low_level, channels, num_classes)
        self.auxiliary_head = AuxiliaryHead(auxiliary, num_classes, auxiliary_channels, dropout)
        for head in (self.aspp, self.decoder, self.auxiliary_head):
            head.apply(_initialise)

    def forward(self, *args: Any, stage: str = "segment") -> Any:
        """Run the stage named `stage`; by default images `(B, 3, H, W)` to logits `(B, K, H, W)`."""
        return getattr(self, stage)(*args)

    def segment(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits `(B, K, *size)` of normalised images `(B, 3, H, W)`, with the stored memory; by default at the images' own size."""
        encoding = self.encode(images)
        return self.decode(self.read(encoding.features), encoding, size or (images.shape[-2], images.shape[-1]))

    def encode(self, images: Tensor) -> Encoding:
        """Backbone and pyramid (E)."""
        found = self.backbone(images)
        return Encoding(self.aspp(found.deep), found.low_level, found.auxiliary, found.whitened)

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """Enrich features `(B, C, h, w)` from the memory; without a memory they pass unchanged, with no similarity."""
        if self.memory is None:
            return Reading(features, features.new_zeros(0))
        return self.memory.read(features, items)

    def write(self, features: Tensor, labels: Tensor, items: Tensor | None = None) -> Tensor:
        """New memory items `(K, C)` from labelled features; stores nothing."""
        return self.require_memory().write(features, labels, items)

    def classify_items(self, items: Tensor) -> Tensor:
        """Logits `(K, K)` of the memory classifier G."""
        return self.require_memory().classify(items)

    def decode(self, reading: Reading, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """Logits `(B, K, *size)` from the read features and the encoder's low-level ones (D)."""
        return resize(self.decoder(reading.fused, encoding.low_level), size)

    def auxiliary(self, encoding: Encoding) -> Tensor:
        """Logits of the auxiliary head at its own resolution `(B, K, h3, w3)`."""
        return self.auxiliary_head(encoding.auxiliary)

    def require_memory(self) -> CategoricalMemory:
        """The memory of a network that must have one."""
        if self.memory is None:
            raise TypeError("this network has no memory: build it with memory=CategoricalMemory(...)")
        return self.memory


def _initialise(module: nn.Module) -> None:
    """He initialisation of the heads' convolutions and no bias, as in the released code; backbone and memory have their own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
