"""MLDG for segmentation (Li, Yang, Song, Hospedales, AAAI 2018): the meta-learning of Pin the Memory without a memory."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from pin_memory.methods.base import refuse_memory
from pin_memory.methods.batches import DomainBatch, Labelled
from pin_memory.methods.meta_learning import MetaLearning


class MLDG(MetaLearning):
    """Steps on `L(X_mtr; Θ) + L(X_mte; Θ')` with `Θ' = Θ - α ∇L(X_mtr; Θ)` and `L = L_seg + w_aux L_aux`."""

    name: ClassVar[str] = "mldg"

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network with a memory in addition to what every method refuses: it would stay empty."""
        super().check_sources(batch_sizes)
        refuse_memory(self)

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, inner step, outer step."""
        meta_train, meta_test, *_ = self.sides(batch)
        inner = self.loss(meta_train, self.run_stage, "inner_")
        fast = self.inner_step(inner)
        outer = self.loss(meta_test, fast.call, "outer_")
        self.outer_step(fast, outer, batch)
        self.log_losses(inner=inner, outer=outer)

    def loss(self, part: Labelled, run: Callable[..., Any], step: str) -> Tensor:
        """`L_seg + w_aux L_aux` of a part of the batch, with the weights that `run` runs stages with."""
        encoding = run("encode", part.images)
        return self.segmentation_loss(run("read", encoding.features), encoding, part.labels, run, step, part.domains)
