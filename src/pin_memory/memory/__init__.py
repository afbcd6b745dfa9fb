"""The categorical memory: operations, losses and the module that holds the items."""

from pin_memory.memory.categorical import CategoricalMemory, MemoryUpdate, Reading
from pin_memory.memory.losses import cross_entropy, feature_cohesion, memory_classification, memory_divergence

__all__ = [
    "CategoricalMemory",
    "MemoryUpdate",
    "Reading",
    "cross_entropy",
    "feature_cohesion",
    "memory_classification",
    "memory_divergence",
]
