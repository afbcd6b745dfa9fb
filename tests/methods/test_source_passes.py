"""Passes over the sources outside of the iterations, as for the initialisation of a memory."""

import multiprocessing
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pin_memory.methods.batches import DomainBatch
from pin_memory.methods.memory_learning import MemoryLearning
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
