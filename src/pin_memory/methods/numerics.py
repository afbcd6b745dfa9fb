"""Numbers that are not finite: found before they reach the weights, named, and kept out of the memory.

What is looked at: every loss term, the norm of the total gradient (which is finite only if every gradient is), and the rows of every memory
write. The flags stay on the device; the host reads them once an iteration, right before the optimiser steps. On a GPU that is the one place
of an iteration where it waits, for the backward pass; the commit that follows gives it its lead back. Not to wait at all would mean to step
first and to undo a bad step later, which takes a copy of all weights and of the optimiser's state in every iteration.

The memory is written after the step. A write with a row that is not finite is dropped on the device, without waiting, and told when the
host looks the next time: at the next step, or before a checkpoint is saved. So neither weights nor optimiser nor memory ever hold a number
that is not finite.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pin_memory.errors import ConfigurationError, NonFiniteError
from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.faults import Fault, of_all_ranks
from pin_memory.methods.kept_buffers import KeptBuffers
from pin_memory.ranks import sum_over_ranks

POLICIES = ("raise", "skip")
"""What a method does about a step whose numbers are not finite: stop the run, or leave the step out, counted."""
MOST_IN_A_ROW = 10
"""Steps left out one after the other after which it is the weights that are at fault, not the images."""


class _Begun(NamedTuple):
    """An iteration: its number from 0, and sample names by domain."""

    iteration: int
    names: dict[str, list[str]]


class Numerics:
    """Watches the numbers of one training step after the other.

    Args:
        policy: One of `POLICIES`.

    Attributes:
        skipped: Steps left out so far.
        skipped_writes: Memory writes left out so far, besides those of skipped steps.
        in_a_row: Iterations one after the other with something left out.
        step_skipped: Whether the current step is one of them.

    Raises:
        ConfigurationError: Another policy.
    """

    def __init__(self, policy: str = "raise") -> None:
        if policy not in POLICIES:
            raise ConfigurationError(f"method.on_non_finite={policy}: expected raise (stop the run) or skip (leave the step out, counted).")
        self.policy = policy
        self.skipped, self.skipped_writes, self.in_a_row, self.step_skipped = 0, 0, 0, False
        self._terms: dict[str, Tensor] = {}
        self._inner: tuple[int, Mapping[str, Tensor]] = (0, {})
        self._begun: _Begun | None = None
        self._buffers = KeptBuffers()
        self._newest = -1  # iteration with something left out, from 1
        self._batch: DomainBatch = {}
        self._written: tuple[Tensor, int, dict[str, list[str]]] | None = None

    def begin(self, network: nn.Module, batch: DomainBatch, iteration: int) -> None:
        """Remember what a bad forward pass would spoil: the running statistics, which are small.

        Args:
            network: Its buffers are kept.
            batch: The images of the iteration.
            iteration: Its number, from 0.
        """
        self._buffers.keep(network)
        self._begun = _Begun(iteration, {name: list(part["name"]) for name, part in batch.items()})
        self._terms, self._inner, self._batch, self.step_skipped = {}, (0, {}), batch, False

    def watch(self, terms: Mapping[str, Tensor | float]) -> None:
        """Have the loss terms looked at, by name; reads nothing off the device."""
        self._terms.update({name: torch.as_tensor(value).detach() for name, value in terms.items()})

    def watch_inner_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Keep the gradients of an inner step at hand, to name them should a number that follows from them not be finite."""
        self._inner = len(self._terms), gradients

    def guard(self, before: Tensor, after: Tensor) -> Tensor:
        """The memory to store: `after` where all its rows `(K, C)` are finite, `before` otherwise; decided on the device."""
        rows = torch.isfinite(after).all(dim=1)
        begun = self._begun
        self._written = (rows, begun.iteration if begun else 0, begun.names if begun else {})
        return torch.where(rows.all(), after, before)

    def look(self, norm: Tensor | None, gradients: Mapping[str, Tensor], domains_of: Any) -> tuple[Fault | None, Fault | None]:
        """Look at everything since the last look, and at nothing twice; waits for the device.

        Args:
            norm: Norm of the total gradient; None where no step is due, so that only the memory write is looked at.
            gradients: By parameter name.
            domains_of: Gives the domains of a term from its name, all domains and the iteration.

        Returns:
            What is wrong with this step, and with the memory write at the end of the one before; the same on all ranks.
        """
        written, self._written = self._written, None
        flags = [written[0]] if written else []
        if norm is not None:
            flags.append(torch.stack([term.float().to(norm.device) for term in (*self._terms.values(), norm)]).isfinite())
        if not flags:
            return None, None
        (number,) = sum_over_ranks([(~torch.cat(flags)).sum()])
        bad = bool(number)  # waits for the device
        step = self._step_fault(gradients, norm, domains_of) if norm is not None and bad else None
        if norm is not None:
            self._terms, self._inner, self._batch = {}, (0, {}), {}
        return step, _write_fault(written, domains_of) if bad else None

    def restore(self, network: nn.Module) -> None:
        """Give the running statistics back what they were when the iteration began."""
        self._buffers.restore(network)

    def count(self, step: Fault | None, write: Fault | None) -> None:
        """Count what is left out: the step, the memory write of the iteration before."""
        self.skipped, self.skipped_writes = self.skipped + bool(step), self.skipped_writes + bool(write)
        self.step_skipped = step is not None
        for iteration in sorted(fault.iteration for fault in (write, step) if fault):
            if iteration != self._newest:
                self.in_a_row = self.in_a_row + 1 if iteration == self._newest + 1 else 1
            self._newest = iteration

    def _step_fault(self, gradients: Mapping[str, Tensor], norm: Tensor, domains_of: Any) -> Fault | None:
        """What is not finite in this step on any rank."""
        bad = [name for name, value in self._terms.items() if not math.isfinite(value)]
        before_inner = list(self._terms)[: self._inner[0]]
        causes = [(name, f"loss term {name} is {float(self._terms[name])}") for name in bad if name in before_inner]
        causes += [("inner", text) for text in _named(self._inner[1], "inner gradient")]
        causes += [(name, f"loss term {name} is {float(self._terms[name])}") for name in bad if name not in before_inner]
        total = _named(gradients, "gradient")
        causes += [("", text) for text in total]
        if not total and not bool(norm.isfinite()):
            causes.append(("", "norm of the gradient, which is too large for its number format"))
        begun = self._begun or _Begun(0, {})
        names = list(begun.names)
        domains = domains_of(causes[0][0], names, begun.iteration) if causes and causes[0][0] and names else names
        images = {name: begun.names[name] for name in domains}
        return of_all_ranks(Fault(begun.iteration + 1, [text for _, text in causes], domains, images, _spoilt(self._batch)))


def _spoilt(batch: DomainBatch) -> list[str]:
    """Names of the images whose pixels are not all finite."""
    pairs = (pair for part in batch.values() for pair in zip(part["name"], part["image"], strict=True))
    return [name for name, pixels in pairs if not bool(pixels.isfinite().all())]


def _named(gradients: Mapping[str, Tensor], kind: str) -> list[str]:
    """The first parameter whose gradient is not finite, in words; empty where all are."""
    bad = [name for name, gradient in gradients.items() if not bool(gradient.isfinite().all())]
    return [f"{kind} of {bad[0]}" + (f" (of {len(bad)} parameters in all)" if len(bad) > 1 else "")] if bad else []


def _write_fault(written: tuple[Tensor, int, dict[str, list[str]]] | None, domains_of: Any) -> Fault | None:
    """What is not finite in a memory write; the rows are the same on all ranks, the images are not."""
    if written is None or bool(written[0].all()):
        return None
    rows, iteration, names = written
    domains = domains_of("memory", list(names), iteration) if names else []
    classes = (~rows).nonzero().flatten().tolist()
    return of_all_ranks(Fault(iteration + 1, [f"memory row {k}" for k in classes], domains, {name: names[name] for name in domains}, []))


def require_finite(items: Tensor, what: str) -> Tensor:
    """Return a memory `(K, C)` whose rows are all finite.

    Raises:
        NonFiniteError: One is not.
    """
    rows = torch.isfinite(items).all(dim=1)
    if not bool(rows.all()):
        numbers = ", ".join(str(k) for k in (~rows).nonzero().flatten().tolist())
        raise NonFiniteError(
            f"{what} is not finite in the rows of the classes {numbers}: the network's features on the source images are not."
            " Look at its weights (network.backbone.pretrained) and at trainer.precision."
        )
    return items
