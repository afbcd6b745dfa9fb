"""What the methods that learn to generalise share: split source domains, an inner step, an outer step (MLDG, AAAI 2018)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch import Trainer
from pydantic import SkipValidation
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from pin_memory.inference.batch_norm import has_batch_norm
from pin_memory.methods.base import Method
from pin_memory.methods.batches import DomainBatch, DomainSplit, Labelled, merge
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE
from pin_memory.utils.lightning_private import synchronises_batch_norm
from pin_memory.utils.validation import Positive, validated


class Sides(NamedTuple):
    """The images of an iteration, by side.

    With mixture statistics either side holds all images, of which the other side's are not labelled: they take part in batch
    normalisation and in no loss and no write.

    Attributes:
        meta_train: For the inner step, and for the write that the outer step reads.
        meta_test: For the outer step.
        written: The meta-train images only, which the memory is finally written from.
        train: Names of the meta-train domains.
        test: Names of the meta-test domains.
    """

    meta_train: Labelled
    meta_test: Labelled
    written: Labelled
    train: list[str]
    test: list[str]


@validated("method")
class SplitSources(Method):
    """Splits the source domains into two sides in every iteration.

    Args:
        network: What is trained.
        optimizer: Makes the optimiser.
        schedule: Factor on its learning rate by iteration.
        split: Chooses the meta-train and meta-test domains of an iteration.
        options: As in `Method`.
    """

    train_policies: ClassVar[tuple[str, ...]] = ("domain", "mixture", "frozen")

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        split: SkipValidation[DomainSplit | None] = None,  # any function of names and iteration
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.split = split or DomainSplit()

    def sides(self, batch: DomainBatch) -> Sides:
        """Split the images of this iteration."""
        train, test = self.split(list(batch), self.iteration)
        written = merge(batch, train)
        if self.statistics_at(self.iteration) == "mixture":
            return Sides(_only(batch, train), _only(batch, test), written, train, test)
        return Sides(written, merge(batch, test), written, train, test)

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse sources that cannot be split, in addition to what every method refuses."""
        super().check_sources(batch_sizes)
        self.split.check(list(batch_sizes))


@validated("method")
class MetaLearning(SplitSources):
    """Steps through fast weights.

    Args:
        network: What is trained.
        optimizer: Makes the optimiser of the outer step.
        schedule: Factor on its learning rate by iteration.
        split: As in `SplitSources`.
        inner_lr: α of the first iteration, and of all where it is not annealed.
        anneal_inner_lr: α = `inner_lr_fraction` of the current learning rate from the second iteration on, as in the published runs.
        first_order: The inner gradient is a constant in the fast weights (faithful); False differentiates through it.
        inner_lr_fraction: α over the learning rate, 1/4 in the published runs with SGD. The inner step is a plain gradient step whatever
            the outer optimiser is; Adam's rate is no factor on a gradient, so with it a larger fraction takes an inner step of that length.
        train_statistics: What batch normalisation normalises a pass by: "domain", the images of the pass, as released; "mixture", all
            images of the iteration, which every pass then runs on; "frozen", the backbone's running statistics.
        inner_parameters: What the inner step moves: "all", as published, or "heads", all but the backbone (an adapter counts to the heads);
            the outer step moves everything either way.
        options: As in `Method`.
    """

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        split: SkipValidation[DomainSplit | None] = None,
        inner_lr: Positive = 1e-3,
        anneal_inner_lr: bool = True,
        first_order: bool = True,
        train_statistics: str = "domain",
        inner_lr_fraction: Positive = 0.25,
        inner_parameters: Literal["all", "heads"] = "all",
        **options: Any,
    ) -> None:
        super().__init__(network, optimizer, schedule, split, train_statistics=train_statistics, **options)
        self.initial_inner_lr, self.anneal_inner_lr, self.first_order = inner_lr, anneal_inner_lr, first_order
        self.inner_lr_fraction, self.inner_parameters = inner_lr_fraction, inner_parameters
        if train_statistics == "mixture" and not has_batch_norm(network):
            raise ConfigurationError(
                "method.train_statistics=mixture: this network has no batch norm, so that every pass would run on all images for nothing."
                " Leave it out."
            )

    @property
    def inner_lr(self) -> float:
        """α of the current iteration."""
        return self.lr * self.inner_lr_fraction if self.anneal_inner_lr and self.iteration > 0 else self.initial_inner_lr

    def domains_of(self, term: str, domains: Sequence[str], iteration: int) -> list[str]:
        """One side's domains; with mixture statistics all, as all images take part in the normalisation of either side."""
        if self.statistics_at(iteration) == "mixture":
            return list(domains)
        train, test = self.split(domains, iteration)
        return test if term.startswith("outer") else train

    def inner_step(self, loss: Tensor) -> FastWeights:
        """`Θ' = Θ - α ∇L_in(Θ)`, for the backbone with its own α; logs α and the norms of ∇L_in, of Θ' and of the step Θ' - Θ."""
        self.objective = loss.detach()
        factor = self.backbone_lr_factor if self.inner_parameters == "all" else 0.0
        fast = FastWeights.after_step(self.network, loss, self.inner_lr, self.first_order, factor)
        if self.should_log:
            gradient = get_total_norm(list(fast.inner_gradients.values()))
            weights = get_total_norm([parameter.detach() for parameter in fast.parameters.values()])
            self.log_dict({"inner_lr": self.inner_lr, "grad_norm/inner": gradient})
            self.log_dict({"fast_weights/norm": weights, "fast_weights/step_norm": self.inner_lr * get_total_norm(fast.directions)})
        return fast

    def outer_step(self, fast: FastWeights, loss: Tensor, batch: DomainBatch) -> None:
        """Step the optimiser on `∇L_in(Θ) + ∇L_out(Θ')`."""
        assert self.objective is not None  # of the inner step
        self.objective = self.objective + loss.detach()
        images = sum(len(part["label"]) for part in batch.values())
        self.step_optimizer(fast.total_gradients(loss), images, fast.inner_gradients)

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse a second order through what has no double backward, in addition to what every method refuses."""
        super().check_trainer(trainer)
        if self.first_order:
            return
        modules = list(self.network.modules())
        if synchronises_batch_norm(trainer) or any(isinstance(module, nn.SyncBatchNorm) for module in modules):
            raise ConfigurationError(
                "method.first_order=false differentiates twice, which SyncBatchNorm cannot: use trainer.sync_batchnorm=false or"
                " method.first_order=true."
            )
        if any(getattr(module, "fused_attn", False) for module in modules):
            raise ConfigurationError(
                "method.first_order=false differentiates twice, which fused attention cannot: set network.backbone.fused_attention=false or"
                " use method.first_order=true."
            )
        if self.network.compiled:
            raise ConfigurationError(
                "method.first_order=false differentiates twice, which torch.compile cannot: set network.compile=false or use"
                " method.first_order=true."
            )


def _only(batch: DomainBatch, domains: list[str]) -> Labelled:
    """All images of the batch; those of other domains are not labelled."""
    labels = {name: part["label"] if name in domains else torch.full_like(part["label"], IGNORE) for name, part in batch.items()}
    merged = merge({name: part | {"label": labels[name]} for name, part in batch.items()})
    return merged._replace(domains=tuple(name if name in domains else "" for name in merged.domains))
