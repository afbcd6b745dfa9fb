"""Pin the Memory (Kim, Lee, Park, Min, Sohn, CVPR 2022): meta-learning a categorical memory over source domains."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.errors import ConfigurationError
from pin_memory.memory import CategoricalMemory, feature_cohesion, memory_classification, memory_divergence, operations
from pin_memory.meta import DomainSplit, FastWeights
from pin_memory.methods.base import Method, count
from pin_memory.methods.batches import DomainBatch, Labelled, evaluation_mode, merge
from pin_memory.networks import MemorySegmenter

log = logging.getLogger(__name__)


class LossWeights(NamedTuple):
    """Weights of the memory's losses; of the auxiliary head's loss the method knows itself."""

    cohesion: float = 0.02
    divergence: float = 0.4
    classification: float = 0.2


class PinTheMemory(Method):
    """Learns a memory that, written from some domains, serves others (METHOD: Algorithm 1 of the paper).

    Args:
        network: A segmenter with a memory.
        optimizer: Makes the optimiser of the outer step.
        schedule: Factor on its learning rate by iteration.
        split: Chooses the meta-train and meta-test domains of an iteration.
        inner_lr: α of the first iteration, and of all where it is not annealed.
        anneal_inner_lr: α = current learning rate / 4 from the second iteration on, as in the published runs.
        first_order: The inner gradient is a constant in the fast weights (faithful); False differentiates through it.
        weights: Weights of cohesion, divergence and memory classification.
        auxiliary_weight: Weight of the auxiliary head's loss.
        temperature: τ of the cohesion loss.
        initial_passes: Passes over the source loader that initialise the memory.
        initial_batches: Limit on the batches of each such pass; None for all.
    """

    name: ClassVar[str] = "pin_the_memory"

    def __init__(
        self,
        network: MemorySegmenter,
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        split: DomainSplit | None = None,
        inner_lr: float = 1e-3,
        anneal_inner_lr: bool = True,
        first_order: bool = True,
        weights: dict[str, float] | None = None,
        auxiliary_weight: float = 0.4,
        temperature: float = 1.0,
        initial_passes: int = 2,
        initial_batches: int | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, auxiliary_weight)
        self.split = split or DomainSplit()
        self.initial_inner_lr, self.anneal_inner_lr, self.first_order = inner_lr, anneal_inner_lr, first_order
        self.weights, self.temperature = LossWeights(**(weights or {})), temperature
        self.initial_passes, self.initial_batches = initial_passes, initial_batches

    # The algorithm --------------------------------------------------------------------------------------------------

    def training_step(self, batch: DomainBatch, batch_idx: int) -> None:
        """One iteration: split domains, inner step, write memory, outer step, commit memory."""
        train_domains, test_domains = self.split(list(batch), self.iteration)
        meta_train, meta_test = merge(batch, train_domains), merge(batch, test_domains)

        inner = self.inner_loss(meta_train)
        fast = FastWeights.after_step(self.network, inner, self.inner_lr, self.first_order)
        items = self.write_with(fast, meta_train)
        outer = self.outer_loss(meta_test, fast, items)

        self.step_optimizer(fast.total_gradients(outer), count(meta_train, meta_test))
        self.commit_memory(meta_train)
        self.log_losses(inner=inner, outer=outer)

    def inner_loss(self, meta_train: Labelled) -> Tensor:
        """`L_in = L_read(X_mtr, M) + L_update(M̂)` with `M̂ = write(M, X_mtr)`: segment with the memory, then judge what is written."""
        encoding = self.network.encode(meta_train.images)
        reading_loss = self.reading_loss(encoding, meta_train.labels, self.memory.items, self.run_stage, "inner_")
        items = self.network.write(encoding.features, meta_train.labels)
        divergence, classification = memory_divergence(items), memory_classification(self.network.classify_items(items))
        self.log_losses(divergence=divergence, classification=classification)
        return reading_loss + self.weights.divergence * divergence + self.weights.classification * classification

    def write_with(self, fast: FastWeights, meta_train: Labelled) -> Tensor:
        """`M' = write(M, X_mtr; stopgrad(E'), U')`: gradient reaches the update network alone."""
        with torch.no_grad():
            features = fast.call("encode", meta_train.images).features
        return fast.call("write", features, meta_train.labels)

    def outer_loss(self, meta_test: Labelled, fast: FastWeights, items: Tensor) -> Tensor:
        """`L_out = L_read(X_mte, M'; E', D')`: does the memory written from other domains serve these?"""
        return self.reading_loss(fast.call("encode", meta_test.images), meta_test.labels, items, fast.call, "outer_")

    def reading_loss(self, encoding: Any, labels: Tensor, items: Tensor, run: Callable[..., Any], step: str = "") -> Tensor:
        """`L_read = L_seg + w_aux L_aux + w_coh L_coh` with the memory before any write, so that labels cannot leak into the prediction."""
        reading = run("read", encoding.features, items)
        cohesion = feature_cohesion(reading.similarity, labels, self.temperature)
        self.log_losses(**{f"{step}cohesion": cohesion})
        return self.segmentation_loss(reading, encoding, labels, run, step) + self.weights.cohesion * cohesion

    @torch.no_grad()
    def commit_memory(self, meta_train: Labelled) -> None:
        """`M ← write(M, X_mtr; Θ*)` with the stepped weights, batch norm in eval mode."""
        with evaluation_mode(self.network):
            features = self.network.encode(meta_train.images).features
            self.memory.commit(self.network.write(features, meta_train.labels))

    # Around it ------------------------------------------------------------------------------------------------------

    @property
    def memory(self) -> CategoricalMemory:
        """The network's memory."""
        return self.network.require_memory()

    @property
    def inner_lr(self) -> float:
        """α of the current iteration."""
        return self.lr / 4 if self.anneal_inner_lr and self.iteration > 0 else self.initial_inner_lr

    def check_sources(self, domains: list[str], batch_size: int) -> None:
        """Refuse fewer than two sources and a network without memory, besides what every method refuses."""
        super().check_sources(domains, batch_size)
        if self.network.memory is None:
            raise ConfigurationError("method=pin_the_memory needs a network with a memory, found network.memory=null.")
        self.split.check(domains)

    def on_train_start(self) -> None:
        """Initialise the memory from the source loader, unless a checkpoint brought one."""
        if not self.memory.initialised:
            log.info("Initialising the memory from the source domains.")
            self.initialise_memory(batch for index in range(self.initial_passes) for batch in self._initial_pass(index))

    def _initial_pass(self, index: int) -> Iterator[DomainBatch]:
        """One pass over the source loaders with draws of its own."""
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        for part in loader.flattened:
            part.sampler.set_epoch(index)
        for batch, *_ in islice(iter(loader), self.initial_batches):
            yield batch

    @torch.no_grad()
    def initialise_memory(self, batches: Iterable[DomainBatch]) -> None:
        """Per class the share-weighted mean of the unit features (before U) over `batches`, normalised; unseen classes stay zero."""
        sums = torch.zeros_like(self.memory.items)
        with evaluation_mode(self.network):
            for batch in batches:
                images, labels = merge(batch)
                features = operations.full_precision(self.network.encode(images.to(self.device)).features)
                sums += self.memory.class_sums(operations.unit(features), labels.to(self.device))[0]
        self.memory.commit(operations.unit(sums))
