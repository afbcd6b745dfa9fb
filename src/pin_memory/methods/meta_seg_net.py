"""MetaSegNet over domains: a classifier that is solved on some domains has to serve others (after Tian et al., AAAI 2020; ours)."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import islice
from typing import Any, ClassVar

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.memory import RidgeMemory
from pin_memory.memory.ridge import Moments
from pin_memory.methods.batches import DomainBatch, DomainSplit, evaluation_mode, merge
from pin_memory.methods.memory_learning import require_memory
from pin_memory.methods.meta_learning import SplitSources
from pin_memory.methods.running_moments import RunningMoments
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state, sum_over_ranks
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from pin_memory.utils.labels import IGNORE
from pin_memory.utils.validation import Count, Share, validated


@validated("method")
class MetaSegNetDG(SplitSources):
    """Steps on `L(X_mte, W)` with `W = ridge(X_mtr)` in the graph: no inner gradient step, one backward pass.

    A few crops say little about a regression of hundreds of features, so each domain's moments of the iterations before, constants, count
    on with a momentum. Query pixels of classes that no meta-train domain has shown yet count for nothing: no head could know them.

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
        momentum: On the moments of the iterations before, by domain; with 0 the head is that of the iteration's images alone.
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
        momentum: Share = 0.9,
        train_statistics: str = "mixture",
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, split, train_statistics=train_statistics, **options)
        self.running = RunningMoments(momentum)
        self.solve_batches = solve_batches
        self._solved_at = -1  # iterations that were made when the head was solved on all sources

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, solve the head on one side, step on its loss on the other, store the head."""
        meta_train, meta_test, _, train, test = self.sides(batch)
        together = self.statistics_at(self.iteration) == "mixture"  # there either side holds all images

        encoding = self.network.encode(meta_train.images)
        found = self.moments_by_domain(encoding.features, batch, list(batch) if together else train)
        support = _sum(found[name] for name in train)
        items = self.memory.solve(support)
        if not together:
            encoding = self.network.encode(meta_test.images)
            found |= self.moments_by_domain(encoding.features, batch, test)
        labels = _of_classes(meta_test.labels, support.counts > 0)
        loss = self.segmentation_loss(self.network.read(encoding.features, items), encoding, labels, domains=meta_test.domains)

        self.step_optimizer(self.gradients_of(loss), sum(len(part["label"]) for part in batch.values()))
        if not self.finite.step_skipped:
            self.memory.commit(self.finite.memory_write(self.memory.items, items.detach()))
            self.running.store(found)
        if self.should_log:
            self.log_dict(self.memory.numbers())

    def moments_by_domain(self, features: Tensor, batch: DomainBatch, domains: Sequence[str]) -> dict[str, Moments]:
        """The moments of each of `domains`, over all ranks and with its past; of features `(B, C, h, w)`, one domain after the other."""
        parts = features.split([len(batch[name]["label"]) for name in domains])
        labels = [self.network.cells.cover(batch[name]["label"]) for name in domains]
        own = (self.memory.moments(part, label) for part, label in zip(parts, labels, strict=True))
        return {name: self.running.joined(name, Moments(*sum_over_ranks(found))) for name, found in zip(domains, own, strict=True)}

    @torch.no_grad()
    def solve_on_sources(self) -> None:
        """Store the head that fits images of all sources, with the weights and running statistics as they are."""
        if self._solved_at == self.iteration:
            return
        self._solved_at = self.iteration
        broadcast_state(self.network)  # on CPUs each rank has running statistics of its own
        batches = islice(self.source_batches(0), self.solve_batches)
        with evaluation_mode(self.network):
            pairs = ((self.network.encode(images).features, self.network.cells.cover(labels)) for images, labels, _ in map(merge, batches))
            parts = (self.memory.moments(features, labels) for features, labels in pairs)
            items = self.memory.solve(Moments(*sum_over_ranks(_sum(parts))))
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

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Register the moments of a state dict, too."""
        super().make_room(state)
        self.running.make_room(state, "running.", self.device)

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network without a ridge memory of the sums over all images, in addition to sources that cannot be split."""
        super().check_sources(batch_sizes)
        require_memory(self, RidgeMemory)
        if self.memory.balance:
            raise ConfigurationError(
                f"head.balance={self.memory.balance}: method=meta_seg_net_dg takes classes by their pixels. Set head.balance=0."
            )


def _sum(parts: Iterable[Moments]) -> Moments:
    return reduce(operator.add, parts)


def _of_classes(labels: Tensor, known: Tensor) -> Tensor:
    """Labels `(B, H, W)` with `IGNORE` for the classes that are not `known` `(K,)`."""
    table = torch.zeros(IGNORE + 1, dtype=torch.bool, device=labels.device)
    table[: len(known)] = known
    return torch.where(table[labels], labels, IGNORE)
