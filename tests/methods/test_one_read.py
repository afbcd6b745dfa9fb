"""An iteration waits for the device once: a number that Python reads off a tensor, or puts onto one, empties a GPU's queue."""

import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pin_memory.methods import ERM, MLDG
from pin_memory.utils.lightning_private import disable_sigterm_broadcast
from tests.helpers.poisoned_run import run
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MetaSegNetDGByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import ridge_segmenter, tiny_batch, tiny_segmenter
from tests.helpers.without_values import ALL, SGD, without_values

READS = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default", "aten.equal.default"}
"""What needs a value, or a shape that depends on values, on the host."""
PUTS = {"aten.lift_fresh.default"}
"""What makes a tensor of Python's numbers: on a GPU a copy from ordinary memory, which waits."""
KINDS = [ERMByHand, ERMMemoryByHand, MLDGByHand, MetaSegNetDGByHand, PinTheMemoryByHand, partial(PinTheMemoryByHand, first_order=False)]


class Waits(TorchDispatchMode):
    """Counts operations that wait for a device."""

    def __init__(self, looked_for: set[str] = READS) -> None:
        super().__init__()
        self.looked_for = looked_for
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        places = args[1] if str(func).startswith("aten.index") and len(args) > 1 and isinstance(args[1], list | tuple) else ()
        chosen = any(isinstance(place, Tensor) and place.dtype == torch.bool for place in places)  # as many as the values say
        devices = {leaf.device for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
        if str(func) in self.looked_for or len(devices) > 1 or chosen:
            self.found.append(str(func))
        return result


class Copies(TorchDispatchMode):
    """Keeps the shapes of tensors that are written as they are onto others."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in ("aten.copy_.default", "aten._foreach_copy_.default", "aten.clone.default"):
            self.found += [leaf.shape for leaf in tree_leaves(args[:1]) if isinstance(leaf, Tensor)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_an_iteration_reads_one_number(kind: Any) -> None:
    """The one that says whether the step may be made; none for losses, labels, memory, clipping or the schedule."""
    memory = "Memory" in getattr(kind, "func", kind).__name__
    network = ridge_segmenter() if kind is MetaSegNetDGByHand else tiny_segmenter(memory=memory)
    method: ByHand = kind(network, SGD, gradient_clip=1.0).prepare().train()
    method.log_losses = lambda **terms: method.losses.update(terms)  # type: ignore[method-assign]
    reads = []
    for index in range(3):
        batch = tiny_batch()
        with Waits() as waits:
            method.on_train_batch_start(batch, index)
            method.training_step(batch, index)
        reads.append(len(waits.found) - split_draws(method))
    assert reads == [1, 1, 1]


def split_draws(method: ByHand) -> int:
    """Numbers that splitting the domains reads, from the CPU's own generator."""
    if not hasattr(method, "split"):
        return 0
    with Waits() as waits:
        method.split(["a", "b", "c"], 0)
    return len(waits.found)


@pytest.mark.parametrize(("kind", "part"), [*product(ALL, ("", "whitening")), (ERM, "alignment"), (MLDG, "alignment")])
def test_an_iteration_needs_no_value_of_another_device(kind: Any, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that has no values, so that reading one fails; nothing goes from the host to the device or back but for the check."""
    method, batch = without_values(kind, part == "whitening", monkeypatch, part == "alignment")
    with Waits(READS | PUTS) as waits:
        for index in range(2):
            method.on_train_batch_start(batch, index)
            method.training_step(batch, index)
    assert not waits.found
    assert method.steps == 2


@pytest.mark.parametrize("kind", ALL)
def test_an_iteration_copies_no_weights(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept to undo a step by, of weights or optimiser: on a GPU it would take memory and time in every iteration."""
    method, batch = without_values(kind, False, monkeypatch)
    shapes = {parameter.shape for parameter in method.network.parameters()}
    with Copies() as copies:
        method.on_train_batch_start(batch, 0)
        method.training_step(batch, 0)
    assert [shape for shape in copies.found if len(shape) == 4 and shape in shapes] == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm", "pin_the_memory"])
def test_nothing_around_the_step_waits(data: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks, logging, progress: in an iteration whose metrics are not written one number is read, and no tensor is made of one.

    Lightning, if asked to, reads what a progress bar is to show after every iteration, and copies logged numbers onto the device.
    """
    found = []
    advance = _TrainingEpochLoop.advance

    def watched(self: Any, *args: Any) -> None:
        with Waits(READS | PUTS) as waits:
            advance(self, *args)
        found.append(waits.found)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", watched)
    taken = spy(monkeypatch)
    options = ["loading.num_workers=1", "trainer.max_steps=7", "trainer.val_check_interval=10"]
    options += ["trainer.log_every_n_steps=5", "callbacks.memory_trace.every=5", "callbacks.progress.line_seconds=1000"]
    options += ["+split.meta_test=[gtav]"] if method == "pin_the_memory" else []
    run(data, tmp_path / "run", *options, method=method)
    ordinary = (1, 2, 3, 5)  # the first iteration makes metrics, the fifth writes them, the last is shown
    assert [len(found[index]) for index in ordinary] == [1, 1, 1, 1], found
    assert {name for number, name in taken if number in ordinary} <= {"finite.py", "batches.py"}  # of the CPU's own generator


def spy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Iterations, and the names of this library's files that take values of tensors to the host in them, as long as the patches last."""
    found: list[tuple[int, str]] = []
    training: list[bool] = []
    step = _TrainingEpochLoop.advance

    def spied(name: str) -> Any:
        original = getattr(Tensor, name)

        def called(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            caller = Path(sys._getframe(1).f_code.co_filename)
            to_host = name != "to" or "cpu" in map(str, (*args, *kwargs.values()))
            if "pin_memory" in caller.parts and "domains" not in caller.parts and to_host and training and training[-1]:
                found.append((len(training) - 1, caller.name))
            return original(self, *args, **kwargs)

        return called

    def advance(self: Any, *args: Any) -> None:
        training.append(True)
        step(self, *args)
        training[-1] = False

    monkeypatch.setattr(_TrainingEpochLoop, "advance", advance)
    for name in ("cpu", "tolist", "numpy", "to", "item", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(Tensor, name, spied(name))
    return found


def test_nobody_asks_for_lightnings_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several processes each would wait for its device, before each iteration."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    asked = []
    monkeypatch.setattr(dist, "broadcast", lambda *args, **_: asked.append(args))
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert asked  # what Lightning does by itself
    disable_sigterm_broadcast(trainer)
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert len(asked) == 1
