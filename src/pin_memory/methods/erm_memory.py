"""ERM with a memory: Pin the Memory without its meta-learning (the paper's ablation)."""

from typing import ClassVar

from pin_memory.methods.batches import DomainBatch, merge
from pin_memory.methods.memory_learning import MemoryLearning


class ERMMemory(MemoryLearning):
    """Minimises `L_read + L_update` on the mixture of the source domains, then commits the memory."""

    name: ClassVar[str] = "erm_memory"

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One step on the source mini-batches together, and the write of their memory."""
        mixed = merge(batch)
        loss = self.reading_and_update_loss(mixed)
        self.step_optimizer(self.gradients_of(loss), len(mixed.images))
        self.commit_memory(mixed)
