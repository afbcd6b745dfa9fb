"""Checkpoints: whole or absent, the last state and the best one."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pin_memory.callbacks import AtomicCheckpointIO, LastCheckpoint
from pin_memory.errors import OutputError
from tests.callbacks.fakes import TinyDomains, TinyMethod, configured, tiny_trainer

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
def test_errors_of_the_system_are_told_with_the_file(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="No half-written file") as caught:
        AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "best.ckpt")
    assert str(tmp_path / "best.ckpt") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_not_told_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert kept(tmp_path) == {"best.ckpt": 12, "last.ckpt": 20}
    assert callbacks["best"].best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    assert trainer.checkpoint_callback is callbacks["best"]


def test_last_is_kept_while_the_score_falls(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, list(configured(tmp_path).values()), max_steps=18).fit(TinyMethod(scores=(0.0, 0.3, 0.2, 0.1)), TinyDomains())
    assert kept(tmp_path) == {"best.ckpt": 6, "last.ckpt": 18}


def test_training_goes_on_from_the_last(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(TinyMethod(scores=(0.0, 0.5)), TinyDomains())
    callbacks = configured(tmp_path)
    trainer = tiny_trainer(tmp_path, list(callbacks.values()), max_steps=26)
    trainer.fit(TinyMethod(scores=(0.0, 0.4)), TinyDomains(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept(tmp_path) == {"best.ckpt": 6, "last.ckpt": 26}
    assert callbacks["best"].best_model_score == 0.5


def test_the_best_is_tested_with_panels_of_every_target(tmp_path: Path) -> None:
    callbacks = configured(tmp_path)
    trainer = tiny_trainer(tmp_path, list(callbacks.values()))
    trainer.fit(TinyMethod(), TinyDomains())
    trainer.test(datamodule=TinyDomains(), ckpt_path="best", verbose=False, weights_only=True)
    assert len(callbacks["panels"].paths) == 4 + 2
    assert all(path.parent == tmp_path / "panels" for path in callbacks["panels"].paths)


class Interrupted(TinyMethod):
    """Stopped by Ctrl-C at a step, or in the validation after it."""

    def __init__(self, step: int, stage: str) -> None:
        super().__init__()
        self.step, self.stage = step, stage

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
@pytest.mark.parametrize(("step", "stage"), [(3, "before"), (9, "before"), (9, "after"), (12, "validation")])
def test_ctrl_c_keeps_the_steps_made_so_far(step: int, stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    with caplog.at_level(logging.INFO, "pin_memory"), pytest.raises(SystemExit):
        tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(Interrupted(step, stage), TinyDomains())
    assert kept(tmp_path)["last.ckpt"] == step
    assert f"Saved {last} at step {step}." in caplog.text
    tiny_trainer(tmp_path, list(configured(tmp_path).values())).fit(TinyMethod(), TinyDomains(), ckpt_path=last, weights_only=True)
    assert kept(tmp_path)["last.ckpt"] == 20


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    for stage in ("validation", "before"):  # the former is the sanity check
        with pytest.raises(SystemExit):
            tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "new")]).fit(Interrupted(0, stage), TinyDomains())
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_stays_ctrl_c_when_saving_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as caught:
        tiny_trainer(tmp_path, [LastCheckpoint(tmp_path / "file")]).fit(Interrupted(3, "before"), TinyDomains())
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert "Cannot write the checkpoint" in caplog.text


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
