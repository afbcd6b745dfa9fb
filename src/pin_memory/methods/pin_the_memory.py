"""Pin the Memory (Kim, Lee, Park, Min, Sohn, CVPR 2022): meta-learning a categorical memory over source domains."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.methods.batches import DomainBatch, Labelled
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.methods.meta_learning import MetaLearning
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.validation import validated


@validated("method")
class PinTheMemory(MetaLearning, MemoryLearning):
    """Learns a memory that, written from some domains, serves others (Algorithm 1 of the paper).

    Args:
        network: A segmenter with a memory.
        optimizer: Makes the optimiser of the outer step.
        schedule: Factor on its learning rate by iteration.
        commit: The items that are stored: those that the "stepped" weights write with batch norm in eval mode, as published, or those that
            the "fast" weights have written for the outer step (ours), which saves a pass over the meta-train images.
        options: As in `MetaLearning` and `MemoryLearning`.
    """

    name: ClassVar[str] = "pin_the_memory"

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        commit: Literal["stepped", "fast"] = "stepped",
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.commit = commit

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, inner step, write memory, outer step, commit memory."""
        meta_train, meta_test, written, *_ = self.sides(batch)

        inner = self.reading_and_update_loss(meta_train, "inner_")
        fast = self.inner_step(inner)
        items = self.write_with(fast, meta_train)
        outer = self.outer_loss(meta_test, fast, items)

        self.outer_step(fast, outer, batch)
        if self.commit == "fast":
            self.store_items(items)
        else:
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
