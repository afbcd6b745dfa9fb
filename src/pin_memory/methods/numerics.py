"""Numbers that are not finite: found before they reach the weights, named, and kept out of the memory.

What is looked at: every loss term, the norm of the total gradient (which is finite only if every gradient is), and the rows of every memory
write. The flags stay on the device. How the host gets to know of them is a choice:

At once: it reads one number right before the optimiser steps. On a CPU that costs nothing. On a GPU it waits for the backward pass, after
which the device has nothing to do until the host has told it more.

Later: the step is made in any case, and taken back on the device where its flag says so (`RevocableStep`). The numbers are sent to the host
meanwhile, which reads them before the next step, when they have long been there: nothing waits. On the device weights, optimiser, running
statistics and memory are untouched by then, so that the next iteration began where it should; numbers on the host are given back.

The memory is written after the step. A write with a row that is not finite is dropped on the device, without waiting, and told when the
host looks the next time: at the next step, or before a checkpoint is saved. So the memory never holds a number that is not finite, and
weights and optimiser get none from a loss or a gradient. What a step on finite gradients makes of them (an overflow by far too high a rate)
is found in the next iteration's losses or in the memory write.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.evidence import Begun, Domains, Layout, Step, write_fault
from pin_memory.methods.faults import Fault
from pin_memory.methods.kept_tensors import KeptTensors
from pin_memory.utils.distributed import sum_over_ranks
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from pin_memory.utils.later import Later

POLICIES = ("raise", "skip")
"""What a method does about a step whose numbers are not finite: stop the run, or leave the step out, counted."""
MOST_IN_A_ROW = 10
"""Steps left out one after the other after which it is the weights that are at fault, not the images."""


class Found(NamedTuple):
    """What a look found, the same on all ranks.

    Attributes:
        step: What is wrong with the step that is due.
        write: With the memory write at the end of the iteration before.
        earlier: With the step of the iteration before, which was taken back.
    """

    step: Fault | None = None
    write: Fault | None = None
    earlier: Fault | None = None


class _Sent(NamedTuple):
    """A step whose numbers are on their way to the host; the first one says on how many ranks one is not finite."""

    layout: Layout
    numbers: Later


class _Written(NamedTuple):
    """A memory write: which rows are finite, on the device or on their way, and the iteration."""

    rows: Tensor | Later
    begun: Begun


class Numerics:
    """Watches the numbers of one training step after the other.

    Args:
        policy: One of `POLICIES`.
        late: Whether the host gets to know of a step's numbers before the next one; False for at once, None for late where the device
            is not a CPU.

    Attributes:
        skipped: Steps left out so far.
        skipped_writes: Memory writes left out so far, besides those of skipped steps.
        in_a_row: Iterations one after the other with something left out.
        step_skipped: Whether the current step is one of them, as far as the host knows.

    Raises:
        ConfigurationError: Another policy.
    """

    def __init__(self, policy: str = "raise", late: bool | None = None) -> None:
        if policy not in POLICIES:
            raise ConfigurationError(f"method.on_non_finite={policy}: expected raise (stop the run) or skip (leave the step out, counted).")
        if late not in (True, False, None):
            raise ConfigurationError(f"method.late_look={late}: expected true, false, or null (true on a GPU).")
        self.policy, self.late = policy, late
        self.skipped, self.skipped_writes, self.in_a_row, self.step_skipped = 0, 0, 0, False
        self._terms: dict[str, Tensor] = {}
        self._inner: tuple[int, Mapping[str, Tensor]] = (0, {})
        self._begun = Begun(0, {})
        self._buffers = KeptTensors()
        self._newest = -1  # iteration with something left out, from 1
        self._batch: DomainBatch = {}
        self._bad: Tensor | None = None  # of a step that the host does not know of yet
        self._sent: _Sent | None = None
        self._written: _Written | None = None

    def is_late(self, device: torch.device) -> bool:
        """Whether steps on this device are looked at later."""
        return device.type != "cpu" if self.late is None else self.late

    def begin(self, network: nn.Module, batch: DomainBatch, iteration: int) -> None:
        """Remember what a bad forward pass would spoil: the running statistics, which are small.

        Args:
            network: Its buffers are kept.
            batch: The images of the iteration.
            iteration: Its number, from 0.
        """
        self._buffers.keep(dict(network.named_buffers()))
        self._begun = Begun(iteration, {name: list(part["name"]) for name, part in batch.items()})
        self._terms, self._inner, self._batch, self._bad, self.step_skipped = {}, (0, {}), batch, None, False

    def watch(self, terms: Mapping[str, Tensor | float]) -> None:
        """Have the loss terms looked at, by name; reads nothing off the device."""
        self._terms.update({name: torch.as_tensor(value).detach() for name, value in terms.items()})

    def watch_inner_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Keep the gradients of an inner step at hand, to name them should a number that follows from them not be finite."""
        self._inner = len(self._terms), gradients

    def guard(self, before: Tensor, after: Tensor) -> Tensor:
        """The memory to store: `after` where all its rows `(K, C)` are finite and the step holds, `before` otherwise; on the device."""
        rows = torch.isfinite(after).all(dim=1)
        keep = rows.all()
        if self._bad is not None:  # nothing of the iteration counts, and its write is no fault of its own
            keep, rows = keep & ~self._bad, rows | self._bad
        self._written = _Written(Later(rows.float()) if self.is_late(rows.device) else rows, self._begun)
        return torch.where(keep, after, before)

    def look(self, norm: Tensor | None, gradients: Mapping[str, Tensor], domains_of: Domains) -> Found:
        """Look at everything since the last look, and at nothing twice; waits for the device, unless all of it was sent.

        Args:
            norm: Norm of the total gradient; None where no step is due, so that only what came before is looked at.
            gradients: By parameter name.
            domains_of: Gives the domains of a term from its name, all domains and the iteration.
        """
        found, written = self._what_was_sent(domains_of)
        step = self._step(norm, gradients) if norm is not None else None
        flags = [(~written.rows).sum()] if written and isinstance(written.rows, Tensor) else []
        flags += [step.bad().sum()] if step else []
        if not flags:
            return found
        (number,) = sum_over_ranks([torch.stack(flags).sum()])
        if not bool(number):  # waits for the device
            return found
        if step:
            found = found._replace(step=step.layout().fault(step.evidence().tolist(), domains_of))
        if written and isinstance(written.rows, Tensor):
            found = found._replace(write=write_fault(written.begun, written.rows.tolist(), domains_of))
        return found

    def send(self, norm: Tensor, gradients: Mapping[str, Tensor]) -> Tensor:
        """Send the numbers of the step that is due to the host; the next look finds what is wrong with them. Nothing waits.

        Args:
            norm: As in `look`.
            gradients: As in `look`.

        Returns:
            Whether the step is to be taken back, `()` bool on the device, the same on all ranks.
        """
        step = self._step(norm, gradients)
        (number,) = sum_over_ranks([step.bad().to(norm.dtype)])
        self._sent = _Sent(step.layout(), Later(torch.cat([number.reshape(1), step.evidence()])))
        self._bad = number > 0
        return self._bad

    def forget(self) -> None:
        """Drop what was not looked at: it is of another training."""
        self._terms, self._inner, self._batch, self._bad, self._sent, self._written = {}, (0, {}), {}, None, None, None

    def restore(self, network: nn.Module, where: Tensor | None = None) -> None:
        """Give the running statistics back what they were when the iteration began, where a flag `()` on the device says so."""
        self._buffers.give_back(dict(network.named_buffers()), where)

    def count(self, found: Found) -> None:
        """Count what is left out."""
        self.skipped += bool(found.step) + bool(found.earlier)
        self.skipped_writes += bool(found.write)
        self.step_skipped = found.step is not None
        for iteration in sorted(fault.iteration for fault in found if fault):
            if iteration != self._newest:
                self.in_a_row = self.in_a_row + 1 if iteration == self._newest + 1 else 1
            self._newest = iteration

    def _step(self, norm: Tensor, gradients: Mapping[str, Tensor]) -> Step:
        """The numbers of the step that is due; they are not looked at again."""
        before, inner = self._inner
        step = Step(self._begun, self._terms, before, inner, gradients, norm, self._batch)
        self._terms, self._inner, self._batch = {}, (0, {}), {}
        return step

    def _what_was_sent(self, domains_of: Domains) -> tuple[Found, _Written | None]:
        """What the host has been sent since the last look, and a memory write that it has not."""
        sent, written = self._sent, self._written
        self._sent = self._written = None
        found = Found()
        if sent is not None and (numbers := sent.numbers.read())[0]:
            found = Found(earlier=sent.layout.fault(numbers[1:], domains_of))
        if written is not None and isinstance(written.rows, Later):
            return found._replace(write=write_fault(written.begun, [bool(row) for row in written.rows.read()], domains_of)), None
        return found, written


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
