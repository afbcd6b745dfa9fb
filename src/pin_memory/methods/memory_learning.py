"""What the methods share that train a categorical memory: its losses, initialisation and commit (Pin the Memory, CVPR 2022)."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.memory import CategoricalMemory, Memory, operations
from pin_memory.memory.geometry import check_channels, gram
from pin_memory.methods.base import Method
from pin_memory.methods.batches import DomainBatch, Labelled, evaluation_mode, merge
from pin_memory.methods.losses import feature_cohesion, memory_classification, memory_divergence, memory_structure
from pin_memory.methods.memory_start import MemoryStart
from pin_memory.networks import Encoding, MemorySegmenter
from pin_memory.utils.distributed import sum_over_ranks
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from pin_memory.utils.validation import Count, NotNegative, Positive, validated

log = logging.getLogger(__name__)

_NEEDS_TEXT = "needs the embeddings of the class names: add +memory_start=procrustes (or text, blend) and text.path=FILE, or set it to 0."


@validated("method.weights")
@dataclass(frozen=True)
class LossWeights:
    """Weights of the memory's losses; that of the auxiliary head's loss is the method's own."""

    cohesion: NotNegative = 0.02
    divergence: NotNegative = 0.4
    classification: NotNegative = 0.2
    structure: NotNegative = 0.0


@validated("method")
class MemoryLearning(Method):
    """Trains a network with a memory.

    Args:
        network: A segmenter with a memory.
        optimizer: Makes the optimiser.
        schedule: Factor on its learning rate by iteration.
        weights: Weights of cohesion, divergence, memory classification and structure; 0 leaves a loss out.
        temperature: τ of the cohesion loss.
        initial_passes: Passes over the source loader that initialise the memory.
        initial_batches: Limit on the batches of each such pass; None for all.
        start: What the memory begins with; None for the features of the sources.
        options: As in `Method`.

    Attributes:
        text_gram: Cosines between the class-centred embeddings of the class names, `(K, K)`; None without text.

    Raises:
        ConfigurationError: A structure loss without text.
    """

    text_gram: Tensor | None

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        weights: Mapping[str, Any] | None = None,
        temperature: Positive = 1.0,
        initial_passes: Count = 2,
        initial_batches: Count | None = None,
        start: MemoryStart | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.weights, self.temperature = LossWeights(**(weights or {})), temperature
        self.initial_passes, self.initial_batches = initial_passes, initial_batches
        self.start = start or MemoryStart()
        self.register_buffer("text_gram", gram(self.start.text.rows) if self.start.text else None)
        if self.weights.structure and self.text_gram is None:
            raise ConfigurationError(f"method.weights.structure={self.weights.structure} {_NEEDS_TEXT}")

    def reading_and_update_loss(self, part: Labelled, step: str = "") -> Tensor:
        """`L_read(X, M) + L_update(M̂)` with `M̂ = write(M, X)`: segment with the memory as it is, then evaluate what is written."""
        encoding = self.network.encode(part.images)
        reading_loss = self.reading_loss(encoding, part.labels, self.memory.items, self.run_stage, step, part.domains)
        items = self.network.write(encoding.features, part.labels)
        divergence, classification = memory_divergence(items), memory_classification(self.network.classify_items(items))
        self.log_losses(divergence=divergence, classification=classification)
        loss = reading_loss + self.weights.divergence * divergence + self.weights.classification * classification
        if self.text_gram is None or not self.weights.structure:
            return loss
        structure = memory_structure(items, self.text_gram)
        self.log_losses(structure=structure)
        return loss + self.weights.structure * structure

    def reading_loss(
        self, encoding: Encoding, labels: Tensor, items: Tensor, run: Callable[..., Any], step: str = "", domains: Sequence[str] = ()
    ) -> Tensor:
        """`L_read = L_seg + w_aux L_aux + w_coh L_coh` with the memory before any write, so that labels cannot leak into the prediction."""
        reading = run("read", encoding.features, items)
        cohesion = feature_cohesion(reading.similarity, labels, self.temperature, self.network.cells)
        self.log_losses(**{f"{step}cohesion": cohesion})
        return self.segmentation_loss(reading, encoding, labels, run, step, domains) + self.weights.cohesion * cohesion

    @torch.no_grad()
    def commit_memory(self, part: Labelled) -> None:
        """`M ← write(M, X; Θ*)` with the stepped weights, batch norm in eval mode; M stays where the step was left out."""
        if self.finite.step_skipped:
            return
        with evaluation_mode(self.network):
            features = self.network.encode(part.images).features
            items = self.network.write(features, part.labels)
        self.store_items(items)

    def store_items(self, items: Tensor) -> None:
        """Store written items; M stays where the step was left out, or where they are not finite and such writes are left out."""
        if not self.finite.step_skipped:
            self.memory.commit(self.finite.memory_write(self.memory.items, items.detach()))

    @property
    def memory(self) -> CategoricalMemory:
        """The network's memory."""
        memory = self.network.require_memory()
        assert isinstance(memory, CategoricalMemory)  # refused otherwise by `check_sources`
        return memory

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a network without a categorical memory, or an anchor without text, in addition to what every method refuses."""
        super().check_sources(batch_sizes)
        require_memory(self, CategoricalMemory)
        if self.start.text is not None:
            check_channels(self.start.text.rows, self.memory.channels)
        if self.memory.anchor_weight and self.start.text is None:
            raise ConfigurationError(f"network.memory.anchor_weight={self.memory.anchor_weight} {_NEEDS_TEXT}")

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse text of other classes than the domains' labels have, in addition to what every method refuses."""
        super().check_classes(classes)
        if self.start.text is not None:
            self.start.text.check_classes(classes)

    def on_train_start(self) -> None:
        """Initialise the memory from the source loader or from text, unless a checkpoint brought one."""
        super().on_train_start()
        if not self.memory.initialised:
            log.info("Initialising the memory from %s.", self.start.kind)
            numbers = range(self.initial_passes if self.start.asks_the_sources else 0)
            passes = (islice(self.source_batches(number), self.initial_batches) for number in numbers)
            self.initialise_memory(batch for part in passes for batch in part)

    @torch.no_grad()
    def initialise_memory(self, batches: Iterable[DomainBatch]) -> None:
        """Per class the share-weighted mean of the unit features (before U) over `batches`, normalised; unseen classes stay zero.

        `start` makes the items and the anchor from them; a start from text gives every class an item.
        """
        sums = torch.zeros_like(self.memory.items)
        with evaluation_mode(self.network):
            for batch in batches:
                images, labels, _ = merge(batch)
                features = operations.at_least_float32(self.network.encode(images).features)
                sums += self.memory.class_sums(operations.unit(features), self.network.cells.cover(labels))[0]
        (sums,) = sum_over_ranks([sums])
        features = operations.unit(sums)
        if bad := (~torch.isfinite(features).all(dim=1)).nonzero().flatten().tolist():
            raise NonFiniteError(
                f"The initial memory is not finite in the rows of the classes {', '.join(map(str, bad))}: the network's features on the"
                " source images are not. Look at its weights (network.backbone.pretrained) and at trainer.precision."
            )
        items, anchor = self.start.items(features)
        self.memory.commit(items)
        if self.memory.anchor is not None and anchor is not None:
            self.memory.anchor.copy_(anchor)


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
