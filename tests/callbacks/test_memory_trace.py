"""The memory over training: what is recorded, also across a resumption, and what is not."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pin_memory.callbacks import MemoryTrace
from pin_memory.memory import CategoricalMemory
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.traces import read_trace
from tests.helpers.fakes import TinyDomains, TinyMethod, configured, tiny_trainer


class WithMemory(TinyMethod):
    """Fills its memory with 1 when training starts and adds 1 at each step, so an item tells its iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Module()
        self.network.memory = CategoricalMemory(3, 4)

    def on_train_start(self) -> None:
        """As the methods do: not if a checkpoint brought a memory."""
        memory: Any = self.network.memory
        if not memory.initialised:
            memory.commit(torch.ones(3, 4))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """One step, then the memory."""
        super().training_step(batch, batch_idx)
        memory: Any = self.network.memory
        memory.commit(memory.items + 1)


def train(folder: Path, every: int | None = 5, resume: Path | None = None, **options: Any) -> MemoryTrace:
    """Train the method with the configured callbacks and a trace at the given interval."""
    callbacks = configured(folder) | {"memory_trace": MemoryTrace(folder, every)}
    tiny_trainer(folder, list(callbacks.values()), **options).fit(WithMemory(), TinyDomains(), ckpt_path=resume, weights_only=True)
    return callbacks["memory_trace"]


def steps(folder: Path) -> list[int]:
    """The recorded iterations; each record must be the memory of its iteration."""
    trace = read_trace(folder)
    assert trace is not None
    step, items = trace
    assert (step.dtype, items.dtype) == (np.int64, np.float32)
    assert np.array_equal(items, np.broadcast_to(step[:, None, None] + 1, (len(step), 3, 4)))
    return step.tolist()


def test_start_interval_and_end_are_recorded_once(tmp_path: Path) -> None:
    train(tmp_path / "a", every=6)
    assert steps(tmp_path / "a") == [0, 6, 12, 18, 20]
    train(tmp_path / "b", every=5)
    assert steps(tmp_path / "b") == [0, 5, 10, 15, 20]
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["checkpoints", "memory_trace.npz"]


@pytest.mark.parametrize(("total", "interval"), [(20, 1), (480, 5), (111_450, 1114), (-1, 100)])
def test_the_default_interval_is_a_hundredth_of_the_run(total: int, interval: int, tmp_path: Path) -> None:
    trace = MemoryTrace(tmp_path)
    tiny_trainer(tmp_path, [trace, Stop()], max_steps=total).fit(WithMemory(), TinyDomains())
    assert trace._interval == interval
    assert steps(tmp_path) == [0, 1]


class Stop(MemoryTrace):
    """Ends training after the first iteration."""

    def __init__(self) -> None:
        super().__init__("nowhere")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Stop."""
        trainer.should_stop = True
        trainer.fit_loop.epoch_loop.min_steps = None

    on_train_end = on_train_batch_start = on_exception = on_validation_end = lambda *_: None  # type: ignore[assignment]
    state_key = "stop"


def test_a_resumed_run_continues_the_trace(tmp_path: Path) -> None:
    """The earlier folder may be gone, and what it recorded after the checkpoint is not taken over."""
    train(tmp_path / "first", max_steps=14)
    checkpoint = tmp_path / "first" / "checkpoints" / "best.ckpt"  # of step 6
    assert steps(tmp_path / "first") == [0, 5, 10, 14]
    checkpoint = checkpoint.rename(tmp_path / "moved.ckpt")
    train(tmp_path / "second", every=4, resume=checkpoint, max_steps=13)
    assert steps(tmp_path / "second") == [0, 5, 8, 12, 13]


def test_a_run_resumed_from_before_there_were_traces_starts_one(tmp_path: Path) -> None:
    callbacks = configured(tmp_path / "first")
    del callbacks["memory_trace"]
    tiny_trainer(tmp_path, list(callbacks.values()), max_steps=7).fit(WithMemory(), TinyDomains())
    train(tmp_path / "second", resume=tmp_path / "first" / "checkpoints" / "last.ckpt")
    assert steps(tmp_path / "second") == [7, 10, 15, 20]


def test_the_file_is_there_after_a_validation_and_after_a_crash(tmp_path: Path) -> None:
    class Crash(WithMemory):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            if self.global_step == 9:
                assert steps(tmp_path) == [0, 4]  # written at the validation of step 6
                raise RuntimeError("crash")
            super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="crash"):
        tiny_trainer(tmp_path, [MemoryTrace(tmp_path, 4)]).fit(Crash(), TinyDomains())
    assert steps(tmp_path) == [0, 4, 8]


def test_no_memory_no_file(tmp_path: Path) -> None:
    trace = MemoryTrace(tmp_path, 1)
    tiny_trainer(tmp_path, [trace], max_steps=7, enable_checkpointing=False).fit(TinyMethod(), TinyDomains())
    assert list(tmp_path.iterdir()) == []
    assert read_trace(tmp_path) is None
    assert trace.state_dict() == {}


def test_a_trace_that_cannot_be_written_does_not_stop_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    trace = MemoryTrace(tmp_path / "file", 5)
    with caplog.at_level(logging.WARNING):
        tiny_trainer(tmp_path, [trace]).fit(WithMemory(), TinyDomains())
    assert len([record for record in caplog.records if "memory_trace.npz" in record.message]) == 1


def test_damage_and_nonsense_are_reported(tmp_path: Path) -> None:
    train(tmp_path, max_steps=3)
    path = tmp_path / "memory_trace.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"memory_trace\.npz"):
        read_trace(tmp_path)
    with pytest.raises(ConfigurationError, match="every=0"):
        MemoryTrace(tmp_path, 0)
