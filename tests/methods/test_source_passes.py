"""Passes over the sources outside of the iterations, as for the initialisation of a memory."""

import multiprocessing
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.memory_learning import MemoryLearning
from pin_memory.methods.meta_seg_net import MetaSegNetDG
from pin_memory.runs import build, checkpoints
from tests.helpers.poisoned_run import run


def test_the_initialisation_has_no_loading_processes_but_its_own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of training start later: there are never two for each source, and none is left behind."""
    before, counts = set(multiprocessing.active_children()), []
    initialise = MemoryLearning.initialise_memory

    def count() -> None:
        counts.append(len(set(multiprocessing.active_children()) - before))

    def watched(self: MemoryLearning, batches: Iterable[DomainBatch]) -> None:
        def counted() -> Iterator[DomainBatch]:
            for batch in batches:
                count()
                yield batch

        initialise(self, counted())
        count()

    monkeypatch.setattr(MemoryLearning, "initialise_memory", watched)
    run(data, tmp_path / "run", "loading.num_workers=1", "initialisation.passes=2", "trainer.max_steps=1", method="erm_memory")
    assert counts == [3, 3, 0]


@pytest.mark.slow
def test_checkpoints_hold_a_head_of_their_own_weights(data: Path, tmp_path: Path) -> None:
    """That of a validation, and that after the last iteration: solving again on the sources gives their items bit by bit."""
    options = ("trainer.max_steps=3", "trainer.val_check_interval=2", "method.solve_batches=2", "loading.num_workers=1")
    run(data, tmp_path / "run", *options, method="meta_seg_net_dg")
    for name, step in (("best", 2), ("last", 3)):
        method, checkpoint = checkpoints.load_method(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", ["tests"])
        assert isinstance(method, MetaSegNetDG)
        assert checkpoint.step == step
        items, sources = method.memory.items.clone(), build.build_data(checkpoint.cfg)
        method.source_batches = lambda number, sources=sources: (  # type: ignore[method-assign]
            sources.on_after_batch_transfer(batch, 0) for batch in sources.source_pass(number)
        )
        method.memory.items.zero_()
        method.solve_on_sources()
        assert torch.equal(method.memory.items, items), name
