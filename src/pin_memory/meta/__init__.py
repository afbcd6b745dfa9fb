"""Learning to generalise: the split of the source domains and the fast weights."""

from pin_memory.methods.fast_weights import FastWeights
from pin_memory.methods.domain_split import DomainSplit

__all__ = ["DomainSplit", "FastWeights"]
