"""How often an iteration waits for the device: every number that Python reads off a tensor empties a GPU's queue."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.methods.stepping import ByHand, ERMByHand, ERMMemoryByHand, MLDGByHand, PinTheMemoryByHand
from tests.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)
READS = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default", "aten.equal.default"}
"""What needs a value, or a shape that depends on values, on the host."""


class Reads(TorchDispatchMode):
    """Counts operations that wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in READS:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "kind", [ERMByHand, ERMMemoryByHand, MLDGByHand, PinTheMemoryByHand, partial(PinTheMemoryByHand, first_order=False)]
)
def test_an_iteration_reads_one_number(kind: Any) -> None:
    """The one that says whether the step may be made (non-finite numbers); none for losses, labels, memory, clipping or the schedule."""
    network = tiny_segmenter(memory="Memory" in getattr(kind, "func", kind).__name__)
    method: ByHand = kind(network, SGD, gradient_clip=1.0).prepare().train()
    method.log_losses = lambda **terms: method.numerics.watch(terms)  # type: ignore[method-assign]
    with Reads() as reads:
        method.training_step(tiny_batch(), 0)
    assert len(reads.found) - split_draws(method) == 1, reads.found


def split_draws(method: ByHand) -> int:
    """Numbers that splitting the domains reads, from the CPU's own generator."""
    if not hasattr(method, "split"):
        return 0
    with Reads() as reads:
        method.split(["a", "b", "c"], 0)
    return len(reads.found)
