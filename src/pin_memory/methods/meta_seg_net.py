"""MetaSegNet over domains: a classifier that is solved on some domains has to serve others (after Tian et al., AAAI 2020; ours)."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from pydantic import SkipValidation
from torch.optim import Optimizer

from pin_memory.memory import RidgeMemory
from pin_memory.methods.batches import DomainBatch, DomainSplit, evaluation_mode, merge
from pin_memory.methods.memory_learning import require_memory
from pin_memory.methods.meta_learning import SplitSources
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from pin_memory.utils.validation import Count, validated


@validated("method")
class MetaSegNetDG(SplitSources):
    """Steps on `L(X_mte, W)` with `W = ridge(X_mtr)` in the graph: no inner gradient step, one backward pass.

    The paper's episodes have a support set and queries of new classes; here they are the meta-train and the meta-test domains, and the
    classes stay. That is an extension of ours. The items stored by an iteration are those of its meta-train domains, with the weights
    before its step. Validation and tests need one head for all sources: it is solved on them, with the weights as they are, before each
    validation and after the last iteration, so that the checkpoints made then hold a head that belongs to their weights.

    Args:
        network: A segmenter with a ridge memory.
        optimizer: Makes the optimiser.
        schedule: Factor on its learning rate by iteration.
        split: As in `SplitSources`.
        solve_batches: Batches of source images, the same each time, that the head for all sources is solved on; None for a pass over all.
        train_statistics: As in `MetaLearning`; with "mixture" both sides share one pass.
        options: As in `Method`.
    """

    name: ClassVar[str] = "meta_seg_net_dg"

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        split: SkipValidation[DomainSplit | None] = None,
        solve_batches: Count | None = 100,
        train_statistics: str = "domain",
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, split, train_statistics=train_statistics, **options)
        self.solve_batches = solve_batches
        self._solved_at = -1  # iterations that were made when the head was solved on all sources

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, solve the head on one side, step on its loss on the other, store the head."""
        meta_train, meta_test, _ = self.sides(batch)

        encoding = self.network.encode(meta_train.images)
        items = self.network.write(encoding.features, meta_train.labels)
        if self.train_statistics != "mixture":  # there either side holds all images
            encoding = self.network.encode(meta_test.images)
        loss = self.segmentation_loss(self.network.read(encoding.features, items), encoding, meta_test.labels, domains=meta_test.domains)

        self.step_optimizer(self.gradients_of(loss), sum(len(part["label"]) for part in batch.values()))
        if not self.finite.step_skipped:
            self.memory.commit(self.finite.memory_write(self.memory.items, items.detach()))
        self.log_losses(total=loss)
        if self.should_log:
            self.log_dict(self.memory.numbers())

    @torch.no_grad()
    def solve_on_sources(self) -> None:
        """Store the head that fits images of all sources, with the weights and running statistics as they are."""
        if self._solved_at == self.iteration:
            return
        self._solved_at = self.iteration
        broadcast_state(self.network)  # on CPUs each rank has running statistics of its own
        batches = islice(self.source_batches(0), self.solve_batches)
        with evaluation_mode(self.network):
            parts = (self.memory.moments(self.network.encode(images).features, labels) for images, labels, _ in map(merge, batches))
            total = next(parts)
            for part in parts:
                total = total + part
            items = self.memory.solve(total)
        if not torch.isfinite(items).all():
            raise NonFiniteError(
                "The head solved on the sources is not finite: the network's features on their images are not, or λ is close to 0"
                f" (ridge/lambda is {float(self.memory.log_lambda.exp()):.3g}). Look at optimizer.lr and trainer.precision."
            )
        self.memory.commit(items)

    def on_train_batch_end(self, outputs: Any, batch: DomainBatch, batch_idx: int) -> None:
        """After the last iteration solve the head on all sources: its state is saved, and perhaps evaluated, as it is."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.iteration == self.trainer.max_steps:
            self.solve_on_sources()

    def on_validation_epoch_start(self) -> None:
        """Solve the head on all sources before a validation in training; what is validated alone has one."""
        super().on_validation_epoch_start()
        if self.trainer.state.fn == "fit":
            self.solve_on_sources()

    @property
    def memory(self) -> RidgeMemory:
        """The network's memory."""
        memory = self.network.require_memory()
        assert isinstance(memory, RidgeMemory)  # refused otherwise by `check_sources`
        return memory

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network without a ridge memory of the sums over all images, in addition to sources that cannot be split."""
        super().check_sources(batch_sizes)
        require_memory(self, RidgeMemory)
        if self.memory.balanced:
            raise ConfigurationError("head.balanced=true: method=meta_seg_net_dg takes classes by their pixels. Set head.balanced=false.")
