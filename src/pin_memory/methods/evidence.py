"""What the numbers of an iteration were: a few hundred of them, on the device, and what they say once the host has them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.faults import Fault, of_all_ranks

Domains = Callable[[str, list[str], int], list[str]]
"""Gives the domains of a term from its name, all domains and the iteration (from 0)."""


class Begun(NamedTuple):
    """An iteration: its number from 0, and sample names by domain."""

    iteration: int
    names: dict[str, list[str]]


class Step(NamedTuple):
    """The numbers of an iteration's losses and gradients, on the device.

    Attributes:
        begun: The iteration.
        terms: Loss terms by name, in the order of computation.
        before_inner: How many of them came before the inner step.
        inner: Inner gradients by parameter name; empty without an inner step.
        gradients: The total gradient by parameter name.
        norm: Its Euclidean norm, finite only if every gradient is.
        batch: The images.
    """

    begun: Begun
    terms: Mapping[str, Tensor]
    before_inner: int
    inner: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    norm: Tensor
    batch: DomainBatch

    def bad(self) -> Tensor:
        """Whether a term or the norm is not finite, on the device."""
        return ~torch.cat(self._few()).isfinite().all()

    def _few(self) -> list[Tensor]:
        """The terms and the norm, `(N,)` in all."""
        return [torch.stack([value.to(self.norm) for value in (*self.terms.values(), self.norm)])]

    @torch.no_grad()
    def evidence(self) -> Tensor:
        """All that a message needs: terms, norm, then the largest magnitude of every inner gradient, gradient and image, `(N,)`."""
        pixels = [part["image"].flatten(1).to(self.norm.dtype) for part in self.batch.values() if part["name"]]
        images = [torch.linalg.vector_norm(image, math.inf, dim=1).to(self.norm) for image in pixels]
        return torch.cat([*self._few(), *_peaks(self.inner.values(), self.norm), *_peaks(self.gradients.values(), self.norm), *images])

    def layout(self) -> "Layout":
        """What the numbers of `evidence` belong to; holds no tensor."""
        images = [name for part in self.batch.values() for name in part["name"]]
        return Layout(self.begun, list(self.terms), self.before_inner, list(self.inner), list(self.gradients), images)


class Layout(NamedTuple):
    """The names of what the numbers of `Step.evidence` belong to, one list for each kind of them."""

    begun: Begun
    terms: list[str]
    before_inner: int
    inner: list[str]
    gradients: list[str]
    images: list[str]

    def fault(self, evidence: Sequence[float], domains_of: Domains) -> Fault | None:
        """What is not finite on any rank; all ranks have to ask.

        Args:
            evidence: The numbers of `Step.evidence`, on the host.
            domains_of: Gives the domains of a term.
        """
        numbers = iter(evidence)
        terms = dict(zip(self.terms, numbers, strict=False))
        norm = next(numbers)
        inner, gradients = (dict(zip(names, numbers, strict=False)) for names in (self.inner, self.gradients))
        told = [(name, f"loss term {name} is {value}") for name, value in terms.items() if not math.isfinite(value)]
        early = set(self.terms[: self.before_inner])
        causes = [(name, text) for name, text in told if name in early]
        causes += [("inner", text) for text in _named(inner, "inner gradient")]
        causes += [(name, text) for name, text in told if name not in early]
        total = _named(gradients, "gradient")
        causes += [("", text) for text in total]
        if not total and not math.isfinite(norm):
            causes.append(("", "norm of the gradient, which is too large for its number format"))
        spoilt = [name for name, peak in zip(self.images, numbers, strict=True) if not math.isfinite(peak)]
        return of_all_ranks(_fault(self.begun, causes, domains_of, spoilt))


def write_fault(begun: Begun, rows: Sequence[bool], domains_of: Domains) -> Fault | None:
    """What is not finite in a memory write: the rows are the same on all ranks, the images are not; all ranks have to ask.

    Args:
        begun: The iteration of the write.
        rows: For each row whether it is finite.
        domains_of: Gives the domains of the "memory".
    """
    if all(rows):
        return None
    causes = [("memory", f"memory row {k}") for k, finite in enumerate(rows) if not finite]
    return of_all_ranks(_fault(begun, causes, domains_of, []))


def _fault(begun: Begun, causes: list[tuple[str, str]], domains_of: Domains, spoilt: list[str]) -> Fault:
    """The causes, each with the name of its term, and the images that the first one is computed from."""
    names = list(begun.names)
    domains = domains_of(causes[0][0], names, begun.iteration) if causes and causes[0][0] and names else names
    return Fault(begun.iteration + 1, [text for _, text in causes], domains, {name: begun.names[name] for name in domains}, spoilt)


def _peaks(tensors: Any, like: Tensor) -> list[Tensor]:
    """The largest magnitude of each tensor, finite only if all of its numbers are: one kernel for many tensors, no overflow."""
    detached = [tensor.detach() if tensor.numel() else tensor.new_zeros(1) for tensor in tensors]
    return [torch.stack(torch._foreach_norm(detached, math.inf)).to(like)] if detached else []


def _named(peaks: Mapping[str, float], kind: str) -> list[str]:
    """The first parameter whose gradient is not finite, in words; empty where all are."""
    bad = [name for name, peak in peaks.items() if not math.isfinite(peak)]
    return [f"{kind} of {bad[0]}" + (f" (of {len(bad)} parameters in all)" if len(bad) > 1 else "")] if bad else []
