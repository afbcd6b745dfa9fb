"""Memories: pure operations, and the modules that hold the items."""

from pin_memory.memory.base import Memory, Reading
from pin_memory.memory.categorical import CategoricalMemory, MemoryUpdate
from pin_memory.memory.classifier import Classifier, LinearMemory, PrototypeMemory
from pin_memory.memory.linear import RidgeMemory
from pin_memory.memory.text import TextPrototypes

__all__ = [
    "CategoricalMemory", "Classifier", "LinearMemory", "Memory", "MemoryUpdate", "PrototypeMemory", "Reading", "RidgeMemory",
    "TextPrototypes",
]  # fmt: skip
