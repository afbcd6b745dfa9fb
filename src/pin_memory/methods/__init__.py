"""Training methods, one LightningModule each."""

from pin_memory.methods.base import Method
from pin_memory.methods.erm import ERM
from pin_memory.methods.erm_memory import ERMMemory
from pin_memory.methods.mldg import MLDG
from pin_memory.methods.pin_the_memory import PinTheMemory

__all__ = ["ERM", "MLDG", "ERMMemory", "Method", "PinTheMemory"]
