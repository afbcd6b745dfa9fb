"""Manual optimisation: the gradients of a method are checked, clipped, stepped on and counted here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.finite import FiniteCheck, Policy, StepNumbers
from pin_memory.networks import MemorySegmenter
from pin_memory.networks.freezing import is_adapter
from pin_memory.utils.distributed import mean_over_ranks, world_size
from pin_memory.utils.lightning_private import attached_trainer


def is_slow(name: str) -> bool:
    """Whether a parameter learns at the backbone's rate; an adapter, which starts from nothing as the heads do, learns at theirs."""
    return name.startswith("backbone.") and not is_adapter(name)


def grouped(make: Callable[[Any], Optimizer], network: nn.Module, backbone_lr_factor: float) -> Optimizer:
    """The optimiser over all parameters, those of the backbone (`is_slow`) as a group of their own where their learning rate differs."""
    if backbone_lr_factor == 1:
        return make(network.parameters())
    groups: tuple[list[Tensor], list[Tensor]] = ([], [])
    for name, parameter in network.named_parameters():
        groups[is_slow(name)].append(parameter)
    optimizer = make([{"params": parameters} for parameters in groups])  # the heads first: `lr` is theirs
    optimizer.param_groups[1]["lr"] *= backbone_lr_factor
    return optimizer


class ManualOptimizationMixin(LightningModule):
    """Steps on gradients that a method has computed, unless a number of the step is not finite.

    Args:
        gradient_clip: Largest norm of the total gradient, over all parameters and after the reduction over the ranks; None for any.
        on_non_finite: "raise" stops the run at a loss, a gradient or a memory row that is not finite; "skip" leaves the step out, counted.

    Attributes:
        finite: Checks the numbers of the steps.
        losses: Loss terms of the iteration by name, in the order of computation.
        objective: What the iteration's gradient is of, all terms with their weights; None before it is known.
        should_log: Whether the metrics of the iteration are written, one in `trainer.log_every_n_steps`. What is expensive to compute is
            computed for these alone: Lightning would take a value of every iteration and drop most.
        images_seen: Images that steps were made on.
    """

    network: MemorySegmenter
    images_seen: Tensor

    def __init__(self, gradient_clip: float | None = None, on_non_finite: Policy = "raise") -> None:
        super().__init__()
        self.automatic_optimization = False
        self.gradient_clip, self.finite = gradient_clip, FiniteCheck(on_non_finite)
        self.losses: dict[str, Tensor] = {}
        self.objective: Tensor | None = None
        self.should_log = False
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))

    @property
    def iteration(self) -> int:
        """Iterations done so far; every iteration makes one optimiser step, if only an empty one."""
        return self.global_step

    @property
    def lr(self) -> float:
        """Current learning rate of the outer step."""
        return self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]

    def domains_of(self, term: str, domains: Sequence[str], iteration: int) -> list[str]:
        """The domains whose images a loss term, or the "memory", is computed from; all of them here."""
        return list(domains)

    def on_train_batch_start(self, batch: DomainBatch, batch_idx: int) -> None:
        """Begin an iteration: no losses yet, and the running statistics are kept."""
        every = getattr(attached_trainer(self), "log_every_n_steps", 0)
        self.should_log = every > 0 and (self.iteration + 1) % every == 0
        self.losses, self.objective = {}, None
        self.finite.start(self.network, batch, self.iteration)

    def step_optimizer(self, gradients: dict[str, Tensor], images: int, inner_gradients: Mapping[str, Tensor] | None = None) -> None:
        """Step the optimiser on `gradients` (by parameter name), then the schedule; counts `images` as seen and logs `loss/total`.

        A step that is left out is a step without any gradient: optimisers pass over parameters that have none, weights and momentum stay as
        they are, and the iteration counts, as its images are drawn. `inner_gradients` are named in messages.

        Raises:
            NonFiniteError: A number is not finite, and the policy is to stop. Weights, optimiser, running statistics and memory are those
                before the step.
        """
        norm = get_total_norm(list(gradients.values()))
        if self.should_log:
            self.log_dict({"grad_norm/total": norm, "lr": self.lr})
        if self._is_finite(StepNumbers(self.losses, norm, gradients, inner_gradients or {})):
            self._step(gradients, norm)
            self.images_seen += images * world_size()
        else:
            self._step({}, norm)
        if self.objective is not None and "total" not in self.losses:
            self.log_losses(total=self.objective)
        if self.should_log and self.finite.policy == "skip":
            self.log_dict({f"skipped/{name}": float(number) for name, number in self.finite.skipped.items()})
        if self.should_log:
            self.log_step()

    def _step(self, gradients: Mapping[str, Tensor], norm: Tensor) -> None:
        """Step the optimiser on gradients of this norm, then the schedule."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        for name, parameter in self.network.named_parameters():
            parameter.grad = gradients.get(name)
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.network.parameters(), self.gradient_clip, norm)
        optimizer.step()  # type: ignore[union-attr]
        torch.clear_autocast_cache()  # it holds the weights before the step, in half precision
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr]

    def log_losses(self, **terms: Tensor | float) -> None:
        """Log `loss/<term>` and keep the terms for the check of the step; what is written is the mean over the ranks.

        Numbers are made on the device: Lightning would copy them there, and a copy from ordinary memory waits for the device. They
        are not marked for the progress bar, or Lightning would read them after every iteration.
        """
        values = {k: v.detach() if isinstance(v, Tensor) else torch.full((), float(v), device=self.device) for k, v in terms.items()}
        self.losses |= values
        if self.should_log and world_size() > 1:
            (means,) = mean_over_ranks([torch.stack([value.float() for value in values.values()])])
            values = dict(zip(values, means.unbind(), strict=True))
        self.log_dict({f"loss/{name}": value for name, value in values.items()})

    def log_now(self, values: Mapping[str, Tensor]) -> None:
        """Write what not every iteration has, as of the domains of a side: of a key without a value Lightning writes the last one again."""
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, self.iteration + 1)

    def log_step(self) -> None:
        """Count in finished iterations what is logged together; by itself Lightning counts those before the one that has just ended."""
        self.log("step", float(self.iteration))

    def on_validation_start(self) -> None:
        """Check the last memory write: what is validated, and chosen by its score, has to be a state that counts."""
        super().on_validation_start()
        self._is_finite()

    def on_train_end(self) -> None:
        """Check the last memory write."""
        super().on_train_end()
        self._is_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counts, the last memory write among them: a run that is resumed from here never sees that write."""
        super().on_save_checkpoint(checkpoint)
        self._is_finite()
        checkpoint["skipped"] = dict(self.finite.skipped)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the counts."""
        super().on_load_checkpoint(checkpoint)
        self.finite.skipped |= checkpoint.get("skipped", {})

    def _is_finite(self, step: StepNumbers | None = None) -> bool:
        """Whether a step may be made; what is not finite is left out and reported, or ends the run."""
        found = self.finite.check(step, self.domains_of)
        self.finite.handle(found, getattr(attached_trainer(self), "datamodule", None), in_step=step is not None)
        return found.step is None
