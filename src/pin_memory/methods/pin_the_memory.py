"""Pin the Memory (Kim, Lee, Park, Min, Sohn, CVPR 2022): meta-learning a categorical memory over source domains."""

from typing import ClassVar

import torch
from torch import Tensor

from pin_memory.methods.batches import DomainBatch, Labelled
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.methods.meta_learning import MetaLearning


class PinTheMemory(MetaLearning, MemoryLearning):
    """Learns a memory that, written from some domains, serves others (Algorithm 1 of the paper).

    Takes the settings of `MetaLearning` and of `MemoryLearning`.
    """

    name: ClassVar[str] = "pin_the_memory"

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, inner step, write memory, outer step, commit memory."""
        meta_train, meta_test, written, *_ = self.sides(batch)

        inner = self.reading_and_update_loss(meta_train, "inner_")
        fast = self.inner_step(inner)
        items = self.write_with(fast, meta_train)
        outer = self.outer_loss(meta_test, fast, items)

        self.outer_step(fast, outer, batch)
        self.commit_memory(written)
        self.log_losses(inner=inner, outer=outer)

    def write_with(self, fast: FastWeights, meta_train: Labelled) -> Tensor:
        """`M' = write(M, X_mtr; stopgrad(E'), U')`: gradient reaches the update network alone."""
        with torch.no_grad():
            features = fast.call("encode", meta_train.images).features
        return fast.call("write", features, meta_train.labels)

    def outer_loss(self, meta_test: Labelled, fast: FastWeights, items: Tensor) -> Tensor:
        """`L_out = L_read(X_mte, M'; E', D')`: does the memory written from other domains serve these?"""
        encoding = fast.call("encode", meta_test.images)
        return self.reading_loss(encoding, meta_test.labels, items, fast.call, "outer_", meta_test.domains)
