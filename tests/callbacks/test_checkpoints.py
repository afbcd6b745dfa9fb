"""Checkpoints: whole or absent, the last state and the best one."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pin_memory.callbacks import AtomicCheckpointIO, LastCheckpoint
from pin_memory.callbacks.last_checkpoint import ASK_EVERY, FirstFailedError, save_together
from pin_memory.utils.checkpoint_io import DamagedCheckpointError, load_intact
from pin_memory.utils.errors import ConfigurationError, OutputError
from tests.helpers.fakes import TinyDomains, TinyMethod, configured, tiny_trainer
from tests.helpers.two_ranks import on_two_ranks

resource = pytest.importorskip("resource")  # only where file sizes can be limited


def test_round_trip_loads_with_weights_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": torch.arange(3), "step": 4}, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path, weights_only=True)
    assert loaded["step"] == 4
    assert loaded["weight"].tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # writing more fails as on a full disk
    try:
        with pytest.raises(OutputError, match=r"last\.ckpt.*earlier last\.ckpt is intact"):
            AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("number", [28, 13, 122])
def test_errors_of_the_system_are_reported_with_the_file(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="No half-written file") as caught:
        AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "best.ckpt")
    assert str(tmp_path / "best.ckpt") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_not_reported_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")


def kept(folder: Path) -> dict[str, int]:
    """The step of each checkpoint."""
    return {path.name: torch.load(path, weights_only=True)["global_step"] for path in (folder / "checkpoints").iterdir()}


def test_last_is_the_last_step_and_best_the_best_score(tmp_path: Path) -> None:
    # Validated at the steps 6, 12 and 18 after a sanity check; step 12 is the best; training ends at step 20.
    callbacks = configured(tmp_path)
    trainer = tiny_trainer(tmp_path, list(callbacks.values()))
    trainer.fit(TinyMethod(scores=(0.0, 0.1, 0.3, 0.2)), TinyDomains())
    assert kept(tmp_path) == {"best.ckpt": 12, "last.ckpt": 20, "step-18.ckpt": 18}
    assert callbacks["best"].best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    assert trainer.checkpoint_callback is callbacks["best"]


def test_last_is_kept_while_the_score_falls(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, list(configured(tmp_path).values()), max_steps=18).fit(TinyMethod(scores=(0.0, 0.3, 0.2, 0.1)), TinyDomains())
    assert kept(tmp_path) == {"best.ckpt": 6, "last.ckpt": 18, "step-12.ckpt": 12}


def test_training_resumes_from_the_last(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(TinyMethod(scores=(0.0, 0.5)), TinyDomains())
    callbacks = configured(tmp_path)
    trainer = tiny_trainer(tmp_path, list(callbacks.values()), max_steps=26)
    trainer.fit(TinyMethod(scores=(0.0, 0.4)), TinyDomains(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept(tmp_path) == {"best.ckpt": 6, "last.ckpt": 26, "step-24.ckpt": 24}
    assert callbacks["best"].best_model_score == 0.5


def test_the_best_is_tested_with_panels_of_every_target(tmp_path: Path) -> None:
    callbacks = configured(tmp_path)
    trainer = tiny_trainer(tmp_path, list(callbacks.values()))
    trainer.fit(TinyMethod(), TinyDomains())
    trainer.test(datamodule=TinyDomains(), ckpt_path="best", verbose=False, weights_only=True)
    assert len(callbacks["panels"].paths) == 4 + 2
    assert all(path.parent == tmp_path / "panels" for path in callbacks["panels"].paths)


class Interrupted(TinyMethod):
    """Stopped by Ctrl-C before training, at a step, or in the validation after it."""

    def __init__(self, step: int, stage: str) -> None:
        super().__init__()
        self.step, self.stage = step, stage

    def on_train_start(self) -> None:
        """Ctrl-C before the first iteration."""
        self._stop("start")

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Ctrl-C before the step, or after it."""
        self._stop("before")
        super().training_step(batch, batch_idx)
        self._stop("after")

    def validation_step(self, batch: torch.Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Ctrl-C in the midst of it."""
        self._stop("validation")

    def _stop(self, stage: str) -> None:
        if (self.stage, self.step) == (stage, self.trainer.global_step):
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def sigint() -> Any:
    """Lightning ignores Ctrl-C from the first one on."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(("step", "stage", "saved"), [(3, "before", 4), (9, "before", 10), (9, "after", 9), (12, "validation", 12)])
def test_ctrl_c_keeps_the_steps_made_so_far(step: int, stage: str, saved: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The iteration that was begun is finished, the validation is not."""
    last = tmp_path / "checkpoints" / "last.ckpt"
    with caplog.at_level(logging.INFO, "pin_memory"), pytest.raises(SystemExit) as caught:
        tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(Interrupted(step, stage), TinyDomains())
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert kept(tmp_path)["last.ckpt"] == saved
    assert f"Saved {last} at step {saved}; resume={tmp_path} continues from there." in caplog.text
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(TinyMethod(), TinyDomains(), ckpt_path=last, weights_only=True)
    assert kept(tmp_path)["last.ckpt"] == 20


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    for stage in ("validation", "start"):  # the former is the sanity check
        with pytest.raises(SystemExit):
            tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "new")]).fit(Interrupted(0, stage), TinyDomains())
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_twice_waits_for_nothing(tmp_path: Path) -> None:
    class Impatient(Interrupted):
        def _stop(self, stage: str) -> None:
            super()._stop(stage)
            super()._stop(stage)

    with pytest.raises(SystemExit):
        tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "new", every=2)]).fit(Impatient(5, "after"), TinyDomains())
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"last.ckpt", "step-2.ckpt"}
    assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_stays_ctrl_c_when_saving_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as caught:
        tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "file")]).fit(Interrupted(3, "before"), TinyDomains())
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert "Cannot write the checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("every", "keep", "found"),
    [
        (None, 1, {"last.ckpt": 20}),
        (4, 3, {"last.ckpt": 20, "step-18.ckpt": 18, "step-16.ckpt": 16}),  # those of validations among them
        (1, 2, {"last.ckpt": 20, "step-19.ckpt": 19}),
        (100, 2, {"last.ckpt": 20, "step-18.ckpt": 18}),
    ],
)
def test_so_many_states_are_kept_of_so_many_iterations(tmp_path: Path, every: int | None, keep: int, found: dict[str, int]) -> None:
    tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "checkpoints", every=every, keep=keep)]).fit(TinyMethod(), TinyDomains())
    assert kept(tmp_path) == found


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": 0}])
def test_numbers_of_states_are_checked(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"callbacks\.last"):
        LastCheckpoint(tmp_path, **options)


def test_states_ahead_of_a_resumption_go(tmp_path: Path) -> None:
    """They belong to a training that was given up; the resumed one stays."""
    callbacks = [LastCheckpoint(tmp_path / "checkpoints", every=5, keep=4)]
    tiny_trainer(tmp_path, callbacks).fit(TinyMethod(), TinyDomains())
    assert sorted(kept(tmp_path).values()) == [12, 15, 18, 20]
    callbacks = [LastCheckpoint(tmp_path / "checkpoints", every=5, keep=4)]
    earlier = tmp_path / "checkpoints" / "step-12.ckpt"
    tiny_trainer(tmp_path, callbacks, max_steps=14).fit(TinyMethod(), TinyDomains(), ckpt_path=earlier, weights_only=True)
    assert kept(tmp_path) == {"last.ckpt": 14, "step-12.ckpt": 12}


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "checkpoints")]).fit(TinyMethod(), TinyDomains())
    assert kept(tmp_path) == {"last.ckpt": 20, "step-18.ckpt": 18}


@pytest.mark.parametrize("harm", ["cut", "empty", "code", "text"])
def test_damage_is_seen(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": torch.arange(1000)}, path)
    assert torch.equal(load_intact(path)["weight"], torch.arange(1000))
    content = path.read_bytes()
    if harm == "code":
        torch.save({"path": tmp_path}, path)
    else:
        path.write_bytes({"cut": content[:-10], "empty": b"", "text": b"no archive"}[harm])
    with pytest.raises(DamagedCheckpointError):
        load_intact(path)


def test_every_flipped_bit_of_a_tensor_is_seen(tmp_path: Path) -> None:
    """Which torch.load itself lets pass."""
    path = tmp_path / "last.ckpt"
    weight = torch.full((40,), 1.5)
    AtomicCheckpointIO().save_checkpoint({"weight": weight}, path)
    content = path.read_bytes()
    start = content.index(weight.numpy().tobytes())
    for position in range(start, start + 160, 7):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        assert not torch.equal(torch.load(path, weights_only=True)["weight"], weight)
        with pytest.raises(DamagedCheckpointError, match="checksum"):
            load_intact(path)


def test_a_defect_saves_nothing(tmp_path: Path) -> None:
    class Broken(TinyMethod):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 3:
                raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "new")]).fit(Broken(), TinyDomains())
    assert not (tmp_path / "new").exists()


def test_a_failed_save_ends_training_with_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"last\.ckpt"):
        tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "file")]).fit(TinyMethod(), TinyDomains())


class TwoRanks:
    """What is used of a Trainer, and of its strategy, in two processes that have met."""

    world_size, global_step, state = 2, 0, None
    root_device = torch.device("cpu")

    @property
    def strategy(self) -> "TwoRanks":
        """Both in one."""
        return self

    def barrier(self, name: str) -> None:
        """As that of DDP."""
        dist.barrier()

    def broadcast(self, content: Any) -> Any:
        """As that of DDP."""
        contents = [content]
        dist.broadcast_object_list(contents, 0)
        return contents[0]


def saved_by(rank: int, full: bool) -> str:
    """How `save_together` ends."""
    trainer: Any = TwoRanks()

    def save() -> None:
        if full and rank == 0:
            raise OutputError("the disk is full")
        trainer.barrier("Trainer.save_checkpoint")

    try:
        save_together(trainer, save)
    except OutputError as error:
        return str(error)
    except FirstFailedError as end:
        return f"exit code {end.code}"
    return "saved"


@pytest.mark.slow
def test_two_processes_learn_how_a_save_went() -> None:
    """None waits for the other for good, and the group is whole afterwards."""
    assert on_two_ranks(saved_by, True) == ["the disk is full", "exit code 0"]
    assert on_two_ranks(saved_by, False) == ["saved", "saved"]


def stopped_by(rank: int, reported: tuple[int | None, int | None], every: int | None) -> list[int]:
    """The iterations after which two processes ask each other, up to the one after which they stop; the signal comes in the third."""
    callback = LastCheckpoint(Path("unused"), every=every)
    trainer: Any = TwoRanks()
    asked: list[int] = []
    ask = callback._received_by_any
    callback._received_by_any = lambda trainer: asked.append(trainer.global_step) or ask(trainer)  # type: ignore[method-assign,func-returns-value]
    callback._save = lambda trainer: True  # type: ignore[method-assign]
    trainer.max_steps = 100
    try:
        for trainer.global_step in range(1, 30):
            callback._signals.received = reported[rank] if trainer.global_step >= 3 else None
            callback._after_iteration(trainer)
    except (SystemExit, KeyboardInterrupt):
        return asked
    return []


@pytest.mark.slow
def test_a_signal_to_any_process_stops_both_after_the_same_iteration() -> None:
    """They ask each other every tenth iteration, and where they save."""
    assert ASK_EVERY == 10
    for reported in ((None, signal.SIGTERM), (signal.SIGTERM, None), (signal.SIGINT, signal.SIGTERM)):
        assert on_two_ranks(stopped_by, reported, None) == [[10], [10]]
    assert on_two_ranks(stopped_by, (None, signal.SIGUSR1), 4) == [[4], [4]]
    assert on_two_ranks(stopped_by, (None, None), 100) == [[], []]
