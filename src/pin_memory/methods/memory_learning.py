"""What the methods share that train a categorical memory: its losses, initialisation and commit (Pin the Memory, CVPR 2022)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.memory import CategoricalMemory, Memory, operations
from pin_memory.methods.base import Method
from pin_memory.methods.batches import DomainBatch, Labelled, evaluation_mode, merge
from pin_memory.methods.losses import feature_cohesion, memory_classification, memory_divergence
from pin_memory.networks import Encoding, MemorySegmenter
from pin_memory.utils.distributed import sum_over_ranks
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from pin_memory.utils.validation import Count, NotNegative, Positive, validated

log = logging.getLogger(__name__)


@validated("method.weights")
@dataclass(frozen=True)
class LossWeights:
    """Weights of the memory's losses; that of the auxiliary head's loss is the method's own."""

    cohesion: NotNegative = 0.02
    divergence: NotNegative = 0.4
    classification: NotNegative = 0.2


@validated("method")
class MemoryLearning(Method):
    """Trains a network with a memory.

    Args:
        network: A segmenter with a memory.
        optimizer: Makes the optimiser.
        schedule: Factor on its learning rate by iteration.
        weights: Weights of cohesion, divergence and memory classification; 0 leaves a loss out.
        temperature: τ of the cohesion loss.
        initial_passes: Passes over the source loader that initialise the memory.
        initial_batches: Limit on the batches of each such pass; None for all.
        options: As in `Method`.
    """

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        weights: Mapping[str, Any] | None = None,
        temperature: Positive = 1.0,
        initial_passes: Count = 2,
        initial_batches: Count | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.weights, self.temperature = LossWeights(**(weights or {})), temperature
        self.initial_passes, self.initial_batches = initial_passes, initial_batches

    def reading_and_update_loss(self, part: Labelled, step: str = "") -> Tensor:
        """`L_read(X, M) + L_update(M̂)` with `M̂ = write(M, X)`: segment with the memory as it is, then evaluate what is written."""
        encoding = self.network.encode(part.images)
        reading_loss = self.reading_loss(encoding, part.labels, self.memory.items, self.run_stage, step)
        items = self.network.write(encoding.features, part.labels)
        divergence, classification = memory_divergence(items), memory_classification(self.network.classify_items(items))
        self.log_losses(divergence=divergence, classification=classification)
        return reading_loss + self.weights.divergence * divergence + self.weights.classification * classification

    def reading_loss(self, encoding: Encoding, labels: Tensor, items: Tensor, run: Callable[..., Any], step: str = "") -> Tensor:
        """`L_read = L_seg + w_aux L_aux + w_coh L_coh` with the memory before any write, so that labels cannot leak into the prediction."""
        reading = run("read", encoding.features, items)
        cohesion = feature_cohesion(reading.similarity, labels, self.temperature)
        self.log_losses(**{f"{step}cohesion": cohesion})
        return self.segmentation_loss(reading, encoding, labels, run, step) + self.weights.cohesion * cohesion

    @torch.no_grad()
    def commit_memory(self, part: Labelled) -> None:
        """`M ← write(M, X; Θ*)` with the stepped weights, batch norm in eval mode; M stays where the step was left out."""
        if self.finite.step_skipped:
            return
        with evaluation_mode(self.network):
            features = self.network.encode(part.images).features
            items = self.network.write(features, part.labels)
        self.memory.commit(self.finite.memory_write(self.memory.items, items))

    @property
    def memory(self) -> CategoricalMemory:
        """The network's memory."""
        memory = self.network.require_memory()
        assert isinstance(memory, CategoricalMemory)  # refused otherwise by `check_sources`
        return memory

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network without a categorical memory, in addition to what every method refuses."""
        super().check_sources(batch_sizes)
        require_memory(self, CategoricalMemory)

    def on_train_start(self) -> None:
        """Initialise the memory from the source loader, unless a checkpoint brought one."""
        super().on_train_start()
        if not self.memory.initialised:
            log.info("Initialising the memory from the source domains.")
            passes = (islice(self.source_batches(number), self.initial_batches) for number in range(self.initial_passes))
            self.initialise_memory(batch for part in passes for batch in part)

    @torch.no_grad()
    def initialise_memory(self, batches: Iterable[DomainBatch]) -> None:
        """Per class the share-weighted mean of the unit features (before U) over `batches`, normalised; unseen classes stay zero."""
        sums = torch.zeros_like(self.memory.items)
        with evaluation_mode(self.network):
            for batch in batches:
                images, labels = merge(batch)
                features = operations.at_least_float32(self.network.encode(images).features)
                sums += self.memory.class_sums(operations.unit(features), labels)[0]
        (sums,) = sum_over_ranks([sums])
        items = operations.unit(sums)
        if bad := (~torch.isfinite(items).all(dim=1)).nonzero().flatten().tolist():
            raise NonFiniteError(
                f"The initial memory is not finite in the rows of the classes {', '.join(map(str, bad))}: the network's features on the"
                " source images are not. Look at its weights (network.backbone.pretrained) and at trainer.precision."
            )
        self.memory.commit(items)


def require_memory(method: Method, kind: type[Memory]) -> None:
    """Refuse a network without a memory of this kind, for methods that train it."""
    found = method.network.memory
    if found is None:
        raise ConfigurationError(f"method={method.name} needs a network with a memory, found network.memory=null.")
    if not isinstance(found, kind):
        raise ConfigurationError(
            f"method={method.name} trains a {kind.__name__}, found network.memory={type(found).__name__}: choose the method, or the memory,"
            " that goes with the other."
        )
