"""The segmentation network with a memory between encoder and decoder, as stages that work with any parameter set."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, SkipValidation
from torch import Tensor, nn

from pin_memory.memory import CategoricalMemory, Classifier, Memory, Reading
from pin_memory.memory.operations import at_least_float32
from pin_memory.networks.alignment import TextAlignment
from pin_memory.networks.cells import CORNERS, Cells, Size
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.heads import ASPP, AuxiliaryHead, Decoder, ScoreDecoder
from pin_memory.networks.mix_style import MixStyle
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.user import settle_user
from pin_memory.utils.validation import Count, Share, validated


class Encoding(NamedTuple):
    """Outputs of the encoder: features F `(B, C, h, w)`, low-level `(B, C1, H/4, W/4)` and auxiliary `(B, C3, h3, w3)` ones.

    `image` is the size of the images; `whitened` holds the standardised maps for RobustNet's loss, empty unless the backbone has
    `instance_norm=isw`.
    """

    features: Tensor
    low_level: Tensor
    auxiliary: Tensor
    image: Size
    whitened: tuple[Tensor, ...] = ()


@validated("network")
class MemorySegmenter(nn.Module):
    """A DeepLab network whose features pass through a memory (encoder E, memory M, decoder D).

    DeepLabV3+ by default; `pyramid=SummedASPP` and `decoder=PlainDecoder` make it DeepLabV2, `memory=RidgeMemory()` and
    `decoder=ScoreDecoder` a network that ends in a ridge regression.

    Training calls the stages one by one: `encode`, `read` or `write`, `decode`. `torch.func.functional_call` enters a module only through
    `forward`, so `forward(..., stage="write")` is the entry point for fast weights; without `stage` it segments.

    Args:
        backbone: Gives low-level, auxiliary and deep features.
        num_classes: K; the memory has one item per class.
        channels: C of features, memory items and decoder.
        memory: A memory, or None for the plain network of the baselines.
        auxiliary_channels: Width of the auxiliary head; None for no such head.
        dropout: Drop-out probability of the auxiliary head.
        pyramid: Makes the pyramid from the channels of the deep features, C and the output stride.
        decoder: Makes the decoder from the channels of the low-level features, those of what a read gives (C, K in a ridge memory) and K.
        channels_last: Keep weights and feature maps in the memory order that convolutions are fastest in; the same numbers but for
            round-off.
        compile: Run backbone, pyramid, decoder and auxiliary head through `torch.compile` while training: True for its default backend,
            or the name of another. They have no double backward then. Evaluation and the memory's commit, whose sizes vary and are
            needed at once, stay uncompiled.
        alignment: Makes, from C and K, what aligns features with text in training; None for none.
        adapter: Freezes the backbone and gives it weights that learn next to its own (`Lora`); None for none.
        mix_style: Mixes moments of the backbone's early feature maps in training; None for none.

    Raises:
        ConfigurationError: The memory's items are not K of C channels, the decoder does not fit it, or there is no such backend.
    """

    def __init__(
        self,
        backbone: SkipValidation[Backbone],  # any module with its contract
        num_classes: Annotated[int, Field(ge=2)] = 19,
        channels: Count = 256,
        memory: SkipValidation[Memory | None] = None,
        auxiliary_channels: Count | None = 512,
        dropout: Share = 0.1,
        pyramid: Callable[[int, int, int], nn.Module] = ASPP,
        decoder: Callable[[int, int, int], nn.Module] = Decoder,
        channels_last: bool = False,
        compile: bool | str = False,
        alignment: Callable[[int, int], TextAlignment] | None = None,
        adapter: Callable[[Backbone], None] | None = None,
        mix_style: MixStyle | None = None,
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
        self.cells: Cells = getattr(backbone, "cells", CORNERS)  # a backbone of one's own need not say
        _check_shares(self.cells, memory)
        self.aspp = pyramid(deep, channels, backbone.output_stride)
        self.memory = memory
        self.decoder = decoder(low_level, channels if memory is None else memory.outputs, num_classes)
        width = auxiliary_channels
        self.auxiliary_head = None if width is None else AuxiliaryHead(auxiliary, num_classes, width, dropout)
        for head in (self.aspp, self.decoder, self.auxiliary_head):
            if head is not None:
                head.apply(_initialise)
        # After the others, which draw the same weights with these two and without.
        self.alignment = None if alignment is None else alignment(channels, num_classes).apply(_initialise)
        if adapter is not None:
            adapter(backbone)
        self.mix_style = mix_style
        if mix_style is not None:
            mix_style.attach(backbone)
        if compile and getattr(backbone, "checkpointing", False):
            raise ConfigurationError("network.compile and network.backbone.checkpointing do not go together: set one of the two to false.")
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)
        stages: dict[str, nn.Module] = {"backbone": self.backbone, "aspp": self.aspp, "decoder": self.decoder}
        if self.auxiliary_head is not None:
            stages["auxiliary_head"] = self.auxiliary_head
        # A plain dictionary: neither a submodule twice nor another name in the state dict.
        self._compiled: dict[str, Callable[..., Any]] = _compiled(stages, compile) if compile else {}

    def forward(self, *args: Any, stage: str = "segment") -> Any:
        """Run the stage named `stage`; by default images `(B, 3, H, W)` to logits `(B, K, H, W)`."""
        return getattr(self, stage)(*args)

    def segment(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits `(B, K, *size)` of normalised images `(B, 3, H, W)`, with the stored memory; by default at the images' own size."""
        encoding = self.encode(images)
        return self.decode(self.read(encoding.features), encoding, size or (images.shape[-2], images.shape[-1]))

    def encode(self, images: Tensor) -> Encoding:
        """Backbone and pyramid (E)."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        found = self._part("backbone")(images)
        size = (images.shape[-2], images.shape[-1])
        return Encoding(self._part("aspp")(found.deep), found.low_level, found.auxiliary, size, found.whitened)

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """Enrich features `(B, C, h, w)` from the memory; without a memory they pass unchanged, with no similarity."""
        if self.memory is None:
            return Reading(features, features.new_zeros(0))
        return self.memory.read(features, items)

    def write(self, features: Tensor, labels: Tensor, items: Tensor | None = None) -> Tensor:
        """New memory items from labelled features; stores nothing."""
        return self.require_memory().write(features, self.cells.cover(labels), items)

    def classify_items(self, items: Tensor) -> Tensor:
        """Logits `(K, K)` of the categorical memory's classifier G."""
        memory = self.require_memory()
        if not isinstance(memory, CategoricalMemory):
            raise TypeError(f"only a CategoricalMemory classifies its items, found a {type(memory).__name__}")
        return memory.classify(items)

    def decode(self, reading: Reading, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """Logits `(B, K, *size)` from the read features and the encoder's low-level ones (D), in float32 at least."""
        return self.cells.to_pixels(at_least_float32(self._part("decoder")(reading.fused, encoding.low_level)), encoding.image, size)

    def auxiliary(self, encoding: Encoding) -> Tensor:
        """Logits of the auxiliary head at its own resolution `(B, K, h3, w3)`, in float32 at least."""
        return at_least_float32(self._part("auxiliary_head")(encoding.auxiliary))

    def project(self, features: Tensor) -> Tensor:
        """Features `(B, C, h, w)` in the space of the text, `(B, D, h, w)`."""
        return self.require_alignment().project(features)

    def visual_text(self, projected: Tensor) -> Tensor:
        """The visual text prototypes `(B, K, D)` of projected features."""
        return self.require_alignment().visual_text(projected)

    def set_classes(self, num_classes: int) -> None:
        """Have another number of classes, where nothing is learned of each; a memory's items are forgotten.

        Raises:
            ConfigurationError: The network has parts that are made for its classes.
        """
        scores_alone = isinstance(self.memory, Classifier) and isinstance(self.decoder, ScoreDecoder)
        if not scores_alone or self.auxiliary_head is not None or self.alignment is not None:
            raise ConfigurationError(
                "The classes of episodes change, so the network must end in a head that is fitted to the support, and learn nothing of a"
                " class: set method=meta_seg_net head=ridge (or prototype, linear), which take decoder and auxiliary head away."
            )
        assert isinstance(self.memory, Classifier)
        self.memory.resize(num_classes)
        self.num_classes = num_classes

    @property
    def compiled(self) -> bool:
        """Whether stages run through `torch.compile` in training, by this network's option or by somebody else's doing."""
        # Of the two other ways to compile a module, one wraps it and the other leaves a mark.
        return bool(self._compiled) or any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in self.modules())

    def _part(self, name: str) -> Callable[..., Any]:
        """A part of the network, compiled if it is to be."""
        return self._compiled[name] if self.training and self._compiled else getattr(self, name)

    def require_memory(self) -> Memory:
        """The memory of a network that must have one."""
        if self.memory is None:
            raise TypeError("this network has no memory: build it with memory=CategoricalMemory(...)")
        return self.memory

    def require_alignment(self) -> TextAlignment:
        """The part that aligns with text, of a network that must have one."""
        if self.alignment is None:
            raise TypeError("this network has no text to align with: build it with alignment=partial(TextAlignment, text=...)")
        return self.alignment


def _check_shares(cells: Cells, memory: Memory | None) -> None:
    """Refuse shares of classes by four pixels where those are at the corners of a convolutional network's cells, not of patches."""
    if cells.patch is not None and isinstance(memory, CategoricalMemory) and memory.shares == "bilinear":
        raise ConfigurationError(
            "network.memory.shares=bilinear looks at four pixels where the cells of the released networks lie; those of a vision"
            " transformer are patches, all of whose pixels count: set network.memory.shares=area."
        )


def _initialise(module: nn.Module) -> None:
    """He initialisation of the heads' convolutions and no bias, as in the released code; backbone and memory have their own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _compiled(stages: dict[str, nn.Module], backend: bool | str) -> dict[str, Callable[..., Any]]:
    """The stages through `torch.compile`; nothing is compiled before they are called."""
    name = "inductor" if backend is True else str(backend)
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        raise ConfigurationError(f"network.compile={name}: expected true, false or one of {', '.join(known)}.")
    settle_user()  # the compiler names its cache after the user
    return {stage: torch.compile(module, backend=name) for stage, module in stages.items()}
