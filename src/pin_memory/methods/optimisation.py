"""The step of the optimiser by hand: looked at, clipped, counted."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.evaluation import JudgedByDomain
from pin_memory.methods.faults import Fault, describe
from pin_memory.methods.numerics import MOST_IN_A_ROW, Found, Numerics
from pin_memory.methods.revocable import RevocableStep
from pin_memory.utils.distributed import is_first, world_size
from pin_memory.utils.errors import ConfigurationError, NonFiniteError

log = logging.getLogger(__name__)

_ADVICE = (
    "Lower optimizer.lr, set method.gradient_clip=1, look at the images named, or leave such steps out with method.on_non_finite=skip."
)


class SteppedByHand(JudgedByDomain):
    """Steps on gradients that a method has computed, unless a number of the step is not finite.

    Args:
        gradient_clip: Largest norm of the total gradient, over all parameters and after the reduction over the ranks; None for any.
        on_non_finite: "raise" stops the run at a loss, a gradient or a memory row that is not finite; "skip" leaves the step out, counted.
        late_look: Whether the host gets to know of it before the next step, so that it never waits for a GPU: the step is made and taken
            back on the device. It takes a copy of weights and optimiser state during the step. False: before the step. None: late but on
            a CPU.

    Attributes:
        numerics: Watches the numbers of the steps.
        images_seen: Images that steps were made on.
        reports: Whether the metrics of the iteration under way are written; `writes_metrics` looks ahead once the step is made.

    Raises:
        ConfigurationError: A norm that is not above 0, or another policy.
    """

    images_seen: Tensor

    def __init__(self, gradient_clip: float | None = None, on_non_finite: str = "raise", late_look: bool | None = None) -> None:
        super().__init__()
        if gradient_clip is not None and not gradient_clip > 0:
            raise ConfigurationError(f"method.gradient_clip={gradient_clip}: expected a norm above 0, or null for no clipping.")
        self.gradient_clip, self.numerics = gradient_clip, Numerics(on_non_finite, late_look)
        self.reports = False
        self._revocable: RevocableStep | None = None  # the newest step, if the host does not know yet whether it holds
        self._files: dict[str, dict[str, Path]] = {}  # image by sample name, of the domains that were asked for
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))

    @property
    def iteration(self) -> int:
        """Iterations done so far; every iteration makes one optimiser step, if only an empty one."""
        return self.global_step

    @property
    def lr(self) -> float:
        """Current learning rate of the outer step."""
        return self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]

    @property
    def writes_metrics(self) -> bool:
        """Whether the metrics of this iteration are written, one in `trainer.log_every_n_steps`; False without a Trainer.

        What is dear to compute is computed for these alone: Lightning would take a value of every iteration and drop most.
        """
        every = getattr(self._trainer, "log_every_n_steps", 0)
        return every > 0 and (self.iteration + 1) % every == 0

    @property
    def skipped(self) -> dict[str, int]:
        """Numbers of steps and of memory writes that were left out, by name."""
        return {"steps": self.numerics.skipped, "memory_writes": self.numerics.skipped_writes}

    def domains_of(self, term: str, domains: Sequence[str], iteration: int) -> list[str]:
        """The domains whose images a loss term, or the "memory", is computed from; all of them here."""
        return list(domains)

    def on_train_batch_start(self, batch: DomainBatch, batch_idx: int) -> None:
        """Remember the state that a bad forward pass would spoil."""
        self.reports = self.writes_metrics
        self.numerics.begin(self.network, batch, self.iteration)

    def step_optimizer(self, gradients: dict[str, Tensor], images: int) -> None:
        """Step the optimiser on `gradients` (by parameter name), then the schedule; counts `images` as seen.

        A step that is left out is a step without any gradient: optimisers pass over parameters that have none, weights and momentum stay as
        they are, and the iteration counts, as its images are drawn. With a late look it is made with its gradients and taken back.

        Raises:
            NonFiniteError: A number of this step, or with a late look of the one before, is not finite, and the policy is to stop. Weights,
                optimiser, running statistics and memory are those before that step.
        """
        norm = get_total_norm(list(gradients.values()))
        if self.writes_metrics:
            self.log("grad_norm/total", norm)
            self.log("lr", self.lr)
        if self._looks_later(norm.device):
            self._take(self.numerics.look(None, {}, self.domains_of), stepping=True)
            bad = self.numerics.send(norm, gradients)
            self._step(gradients, norm, taken_back=bad)
            self.numerics.restore(self.network, where=bad)
            self.images_seen += ~bad * images * world_size()
        elif self._accepts(norm, gradients):
            self._step(gradients, norm)
            self.images_seen += images * world_size()
        else:
            self._step({}, norm)

    def _step(self, gradients: Mapping[str, Tensor], norm: Tensor, taken_back: Tensor | None = None) -> None:
        """Step the optimiser on gradients of this norm, then the schedule; the former is taken back where a flag on the device says so."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        for name, parameter in self.network.named_parameters():
            parameter.grad = gradients.get(name)
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.network.parameters(), self.gradient_clip, norm)
        if taken_back is not None:
            self._revocable = RevocableStep(self._torch_optimizer, norm.device)
        optimizer.step()  # type: ignore[union-attr]
        if taken_back is not None and self._revocable is not None:
            self._revocable.revoke(taken_back)
        torch.clear_autocast_cache()  # it holds the weights before the step, in half precision
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr]

    @property
    def _torch_optimizer(self) -> Optimizer:
        """The optimiser itself, without what Lightning puts around it."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        return optimizer

    def _looks_later(self, device: torch.device) -> bool:
        """Whether the host gets to know later what is wrong with the step that is due.

        Not where it waits for the device anyway, to write metrics; not in the last iteration of an epoch, as what follows may be anything;
        and not where the step cannot be taken back.
        """
        if not self.numerics.is_late(device) or self.writes_metrics or not RevocableStep.possible(self._torch_optimizer, device):
            return False
        return self._trainer is None or not self._trainer.fit_loop.epoch_loop._num_ready_batches_reached()

    def on_validation_start(self) -> None:
        """What is validated, and chosen by its score, has to be a state that counts."""
        super().on_validation_start()
        self._accepts(None, {})

    def on_train_end(self) -> None:
        """Look at the last memory write, too."""
        super().on_train_end()
        self._accepts(None, {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the numbers of what was left out, that of the memory write before among them: who goes on from here never sees it."""
        super().on_save_checkpoint(checkpoint)
        self._accepts(None, {})
        checkpoint["skipped"] = self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        super().on_load_checkpoint(checkpoint)
        earlier = checkpoint.get("skipped", {})
        self.numerics.skipped, self.numerics.skipped_writes = earlier.get("steps", 0), earlier.get("memory_writes", 0)

    def _accepts(self, norm: Tensor | None, gradients: Mapping[str, Tensor]) -> bool:
        """Whether the step may be made; one that may not is told, or ends the run."""
        found = self.numerics.look(norm, gradients, self.domains_of)
        self._take(found, stepping=norm is not None)
        if norm is not None and self.writes_metrics and self.numerics.policy == "skip":
            self.log_dict({f"skipped/{name}": float(number) for name, number in self.skipped.items()})
        return found.step is None

    def _take(self, found: Found, stepping: bool) -> None:
        """Put the state in order after a look, and tell what it found; `stepping` in the midst of an iteration."""
        if found.earlier is not None and self._revocable is not None:
            self._revocable.revoke_on_host()
        self._revocable = None
        try:
            if any(found):
                self._refuse(found)
        except NonFiniteError:
            if stepping:  # the checkpoint of the state before has no part of this iteration
                self.numerics.restore(self.network)
            raise
        if found.step:
            self.numerics.restore(self.network)

    def _refuse(self, found: Found) -> None:
        """Leave the step out, or stop.

        Raises:
            NonFiniteError: The policy is to stop, or too many steps in a row were left out.
        """
        told = [self._describe(found.write, "That memory write was dropped; the step before it stands.")] if found.write else []
        told += [self._describe(found.earlier, "The step was taken back.")] if found.earlier else []
        told += [self._describe(found.step, "The step was not made.")] if found.step else []
        if self.numerics.policy == "raise":
            whose = "Weights, memory and optimiser are" if found.step or found.earlier else "The memory is"
            kept = f"{whose} as {'they were' if found.step or found.earlier else 'it was'} before."
            raise NonFiniteError("\n".join([*told, kept, _ADVICE]), begins=found.earlier.iteration - 1 if found.earlier else None)
        self.numerics.count(found)
        if is_first():
            for text in told:
                log.warning("%s", text)
        if self.numerics.in_a_row >= MOST_IN_A_ROW:
            raise NonFiniteError(
                f"{MOST_IN_A_ROW} iterations in a row had numbers that are not finite and were left out: it is the weights that are at"
                f" fault. Go on from an earlier checkpoint. {_ADVICE}"
            )

    def _describe(self, fault: Fault, outcome: str) -> str:
        """The fault with the files and class names that the run's data module knows."""
        data = getattr(self._trainer, "datamodule", None)
        classes = getattr(getattr(data, "label_space", None), "names", ())
        return f"{describe(fault, classes, self._files_of(fault.images, data))}\n{outcome}"

    def _files_of(self, domains: Iterable[str], data: Any) -> dict[str, dict[str, Path]]:
        """The image files by domain and sample name, listed once; nothing of a data module that is not of this library.

        On the first rank alone: listing a large data set takes seconds, and only what this rank tells is read.
        """
        sources = getattr(data, "sources", {})
        for name in domains if is_first() else ():
            if name in sources and name not in self._files:
                self._files[name] = {sample.name: sample.image for sample in sources[name].dataset("train").samples}
        return self._files
