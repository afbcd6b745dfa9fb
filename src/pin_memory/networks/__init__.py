"""Networks: backbones, DeepLab heads and the segmenter with a memory."""

from pin_memory.networks.backbones import BackboneFeatures, ResNetBackbone
from pin_memory.networks.heads import ASPP, AuxiliaryHead, Decoder, PlainDecoder, SummedASPP
from pin_memory.networks.segmenter import Encoding, MemorySegmenter

__all__ = [
    "ASPP",
    "AuxiliaryHead",
    "BackboneFeatures",
    "Decoder",
    "Encoding",
    "MemorySegmenter",
    "PlainDecoder",
    "ResNetBackbone",
    "SummedASPP",
]
