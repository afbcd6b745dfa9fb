"""Training methods, one LightningModule each."""

from pin_memory.methods.alignment import TextAlignmentLoss
from pin_memory.methods.base import Method
from pin_memory.methods.batches import DomainSplit
from pin_memory.methods.erm import ERM
from pin_memory.methods.erm_memory import ERMMemory
from pin_memory.methods.few_shot import MetaSegNet
from pin_memory.methods.fourier import FourierRandomisation
from pin_memory.methods.ibn_net import IBNNet
from pin_memory.methods.isw import ISW
from pin_memory.methods.memory_start import MemoryStart
from pin_memory.methods.meta_seg_net import MetaSegNetDG
from pin_memory.methods.mldg import MLDG
from pin_memory.methods.pin_the_memory import PinTheMemory
from pin_memory.methods.ppar import PPAR
from pin_memory.methods.random_convolution import RandomConvolution
from pin_memory.methods.schedules import ExponentialDecay, PolynomialDecay
from pin_memory.methods.whitening import InstanceSelectiveWhitening

__all__ = [
    "ERM",
    "ISW",
    "MLDG",
    "PPAR",
    "DomainSplit",
    "ERMMemory",
    "ExponentialDecay",
    "FourierRandomisation",
    "IBNNet",
    "InstanceSelectiveWhitening",
    "MemoryStart",
    "MetaSegNet",
    "MetaSegNetDG",
    "Method",
    "PinTheMemory",
    "PolynomialDecay",
    "RandomConvolution",
    "TextAlignmentLoss",
]
