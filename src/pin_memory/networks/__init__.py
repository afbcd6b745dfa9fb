"""Networks: backbones, DeepLab heads and the segmenter with a memory."""

from typing import TYPE_CHECKING, Any

from pin_memory.networks.alignment import TextAlignment
from pin_memory.networks.backbones import BackboneFeatures, ResNetBackbone
from pin_memory.networks.episodic import GlobalLocalEmbedding, JoinBranches
from pin_memory.networks.heads import ASPP, AuxiliaryHead, Decoder, PlainDecoder, ScaledFeatures, ScoreDecoder, SummedASPP
from pin_memory.networks.lora import Lora
from pin_memory.networks.mix_style import MixStyle
from pin_memory.networks.segmenter import Encoding, MemorySegmenter
from pin_memory.networks.vit_heads import FusedDepths, LinearDecoder, LinearProjection, SegFormerPyramid, TransposedDecoder

if TYPE_CHECKING:
    from pin_memory.networks.timm_backbone import TimmBackbone
    from pin_memory.networks.vit_backbone import VitBackbone

__all__ = [
    "ASPP",
    "AuxiliaryHead",
    "BackboneFeatures",
    "Decoder",
    "Encoding",
    "FusedDepths",
    "GlobalLocalEmbedding",
    "JoinBranches",
    "LinearDecoder",
    "LinearProjection",
    "Lora",
    "MemorySegmenter",
    "MixStyle",
    "PlainDecoder",
    "ResNetBackbone",
    "ScaledFeatures",
    "ScoreDecoder",
    "SegFormerPyramid",
    "SummedASPP",
    "TextAlignment",
    "TimmBackbone",
    "TransposedDecoder",
    "VitBackbone",
]


def __getattr__(name: str) -> Any:
    """Import timm, which takes most of a second, for those networks only that are made with it."""
    if name == "TimmBackbone":
        from pin_memory.networks.timm_backbone import TimmBackbone

        return TimmBackbone
    if name == "VitBackbone":
        from pin_memory.networks.vit_backbone import VitBackbone

        return VitBackbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
