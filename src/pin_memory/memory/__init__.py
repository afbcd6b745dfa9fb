"""The categorical memory: pure operations, and the module that holds the items."""

from pin_memory.memory.categorical import CategoricalMemory, MemoryUpdate, Reading

__all__ = ["CategoricalMemory", "MemoryUpdate", "Reading"]
