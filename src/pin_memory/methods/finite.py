"""Numbers that are not finite: found before they reach the weights, and reported with the images that they come from.

Checked are every loss term, the norm of the total gradient (finite only if every gradient is) and every row of the memory write before. All
flags stay on the device; once an iteration, right before the optimiser steps, the host reads one number: how many are set on all ranks.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pin_memory.methods.batches import DomainBatch
from pin_memory.utils.distributed import gather_objects, is_first, sum_over_ranks
from pin_memory.utils.errors import NonFiniteError

log = logging.getLogger(__name__)

Policy = Literal["raise", "skip"]
"""What happens at a step whose numbers are not finite: the run stops, or the step is left out and counted."""
MAX_IN_A_ROW = 10
"""Iterations left out in a row after which the weights are the cause, not the images."""
_ADVICE = (
    "Lower optimizer.lr, set method.gradient_clip=1, look at the images named, or leave such steps out with method.on_non_finite=skip."
)
Domains = Callable[[str, list[str], int], list[str]]
"""Gives the domains that a loss term is computed from: of its name, all domains and the iteration (from 0)."""


class StepNumbers(NamedTuple):
    """What a step is made of: loss terms by name, norm of the total gradient, and gradients by parameter name."""

    losses: Mapping[str, Tensor]
    norm: Tensor
    gradients: Mapping[str, Tensor]
    inner_gradients: Mapping[str, Tensor]


class Problem(NamedTuple):
    """What was not finite in an iteration (from 1), in words, and the images by domain that the first of it is computed from."""

    iteration: int
    terms: list[str]
    images: dict[str, list[str]]


class Found(NamedTuple):
    """The problem of the step that is about to be made, and that of the memory write in the iteration before; the same on all ranks."""

    step: Problem | None = None
    write: Problem | None = None


class _Iteration(NamedTuple):
    number: int  # from 0
    names: dict[str, list[str]]


class FiniteCheck:
    """Checks one training step after the other, and keeps the running statistics that a bad forward pass would spoil.

    Args:
        policy: What happens at a step whose numbers are not finite.

    Attributes:
        skipped: Numbers of "steps" and "memory_writes" that were left out so far.
        in_a_row: Iterations in a row with something left out.
        step_skipped: Whether the current step is one of them.
    """

    def __init__(self, policy: Policy = "raise") -> None:
        self.policy = policy
        self.skipped = {"steps": 0, "memory_writes": 0}
        self.in_a_row, self.step_skipped = 0, False
        self._newest = -1  # iteration with something left out, from 1
        self._iteration = _Iteration(0, {})
        self._buffers: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._write: tuple[Tensor, _Iteration] | None = None  # which rows are not finite `(K,)`, until the next check
        self._files: dict[str, dict[str, Path]] = {}  # image by sample name, of the domains that a message has named

    def start(self, network: nn.Module, batch: DomainBatch, iteration: int) -> None:
        """Keep the images of an iteration (from 0) and a copy of the running statistics of `network`."""
        self.step_skipped = False
        self._iteration = _Iteration(iteration, {name: list(part["name"]) for name, part in batch.items()})
        self._buffers = list(network.buffers())
        if [(copy.shape, copy.dtype, copy.device) for copy in self._copies] != [(b.shape, b.dtype, b.device) for b in self._buffers]:
            self._copies = [torch.empty_like(buffer) for buffer in self._buffers]
        _copy(self._buffers, self._copies)

    def memory_write(self, before: Tensor, after: Tensor) -> Tensor:
        """The memory `(K, C)` to store: `after` if all its rows are finite, otherwise `before`; decided on the device."""
        bad = ~torch.isfinite(after).all(dim=1)
        self._write = bad, self._iteration
        return torch.where(bad.any(), before, after)

    def check(self, step: StepNumbers | None, domains_of: Domains) -> Found:
        """What is not finite in a step (None: none is due) and in the memory write before it; reads one number off the device."""
        write, self._write = self._write, None
        flags = [write[0]] if write else []
        if step:
            step = step._replace(losses={name: value.detach().to(step.norm) for name, value in step.losses.items()})
            flags.append(~torch.stack([*step.losses.values(), step.norm]).isfinite())
        if not flags:
            return Found()
        (count,) = sum_over_ranks([torch.cat(flags).sum()])
        if not count.item():  # the only place in an iteration where the host waits for the device
            return Found()
        step_problem = _problem(self._iteration, _causes(step), domains_of) if step else None
        rows = enumerate(write[0].tolist() if write else ())
        causes = [("memory", f"memory row {number}") for number, bad in rows if bad]
        write_problem = _problem(write[1], causes, domains_of) if write else None
        self.step_skipped = step_problem is not None
        return Found(step_problem, write_problem)

    def handle(self, found: Found, data: Any, in_step: bool) -> None:
        """Count and report what is left out, or stop; after a step that is not made the running statistics are those before it.

        Args:
            found: What `check` returned.
            data: The run's data module, which knows files and classes; None without.
            in_step: An iteration is under way, which is not completed if the run stops.

        Raises:
            NonFiniteError: The policy is to stop, or too many iterations in a row had something left out.
        """
        reports = []
        if found.write:
            reports.append(f"{self._describe(found.write, data)}\nThat memory write was dropped; the step before it stands.")
        if found.step:
            outcome = "The step was not made: weights, memory and optimiser are as they were before."
            reports.append(f"{self._describe(found.step, data)}\n{outcome}")
        if not reports:
            return
        stop = "\n".join([*reports, _ADVICE]) if self.policy == "raise" else ""
        if not stop:
            self._count(found)
            for report in reports if is_first() else ():
                log.warning("%s", report)
            if self.in_a_row >= MAX_IN_A_ROW:
                stop = (
                    f"{MAX_IN_A_ROW} iterations in a row had numbers that are not finite and were left out: the weights are the cause."
                    f" Resume from an earlier checkpoint. {_ADVICE}"
                )
        if found.step or (stop and in_step):
            _copy(self._copies, self._buffers)
        if stop:
            raise NonFiniteError(stop)

    def _count(self, found: Found) -> None:
        self.skipped["steps"] += bool(found.step)
        self.skipped["memory_writes"] += bool(found.write)
        for problem in (found.write, found.step):
            if problem:
                self.in_a_row = self.in_a_row + 1 if problem.iteration == self._newest + 1 else 1
                self._newest = problem.iteration

    def _describe(self, problem: Problem, data: Any) -> str:
        """The problem with files and class names where they are known; the first rank alone lists files, which takes seconds."""
        classes, sources = getattr(getattr(data, "label_space", None), "names", ()), getattr(data, "sources", {})
        terms = []
        for term in problem.terms:
            row = term.removeprefix("memory row ")
            terms.append(f"{term} ({classes[int(row)]})" if row != term and int(row) < len(classes) else term)
        shown = "; ".join(terms[:6]) + (f"; and {len(terms) - 6} more" if len(terms) > 6 else "")
        lines = [f"Iteration {problem.iteration} has numbers that are not finite: {shown}."]
        for domain, names in problem.images.items():
            if domain in sources and domain not in self._files and is_first():
                self._files[domain] = {sample.name: sample.image for sample in sources[domain].dataset("train").samples}
            files = self._files.get(domain, {})
            lines.append(f"  Images of {domain}: " + ", ".join(str(files.get(name, name)) for name in names))
        return "\n".join(lines)


def _causes(step: StepNumbers) -> list[tuple[str, str]]:
    """Terms of this rank that are not finite, in the order of computation, with words for each; the total gradient has no name."""
    values = {name: value.item() for name, value in step.losses.items()}
    losses = [(name, f"loss term {name} is {value}") for name, value in values.items() if not math.isfinite(value)]
    causes = [cause for cause in losses if not cause[0].startswith("outer")]
    causes += [("inner", text) for text in _first_parameter("inner gradient", step.inner_gradients)]
    causes += [cause for cause in losses if cause[0].startswith("outer")]
    total = _first_parameter("gradient", step.gradients)
    if not total and not step.norm.isfinite():
        total = ["norm of the gradient, which is too large for its number format"]
    return [*causes, *(("", text) for text in total)]


def _first_parameter(kind: str, gradients: Mapping[str, Tensor]) -> list[str]:
    """Words for the first parameter whose gradient is not finite; empty if all are finite."""
    bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    return [f"{kind} of {bad[0]}" + (f" (of {len(bad)} parameters in all)" if len(bad) > 1 else "")] if bad else []


def _problem(iteration: _Iteration, causes: list[tuple[str, str]], domains_of: Domains) -> Problem | None:
    """The causes of all ranks, which all have to call this, as one problem; None without any."""
    names = iteration.names
    domains = domains_of(causes[0][0], list(names), iteration.number) if causes and causes[0][0] and names else list(names)
    own = Problem(iteration.number + 1, [text for _, text in causes], {name: names[name] for name in domains})
    bad = [problem for problem in gather_objects(own) if problem.terms]
    if not bad:
        return None
    images = {name: [image for problem in bad for image in problem.images.get(name, [])] for problem in bad for name in problem.images}
    terms = list(dict.fromkeys(term for problem in bad for term in problem.terms))
    return Problem(own.iteration, terms, images)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    """Copy tensors onto others, those of one type at once: with counters among them each would be copied by itself."""
    for dtype in {tensor.dtype for tensor in source}:
        pairs = [(to, of) for to, of in zip(target, source, strict=True) if of.dtype == dtype]
        torch._foreach_copy_([to for to, _ in pairs], [of for _, of in pairs])
