"""What is seen of a run, in a terminal and in a log file."""

import io
import re
import sys
import time
from pathlib import Path

import pytest
import torch

from pin_memory.callbacks import LastCheckpoint, TrainingProgress
from pin_memory.callbacks import progress as progress_module
from pin_memory.callbacks.progress import describe_seconds
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Somebody is watching."""
        return True


def fit_and_test(folder: Path, progress: TrainingProgress) -> None:
    """Twenty steps, three validations and a test."""
    trainer = tiny_trainer(folder, [progress, LastCheckpoint(folder)])
    trainer.fit(TinyMethod(), TinyDomains())
    trainer.test(TinyMethod(), TinyDomains(), verbose=False)


def test_a_log_file_gets_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_and_test(tmp_path, TrainingProgress(line_seconds=0))
    errors = capsys.readouterr().err
    assert "training: 20 steps" in errors
    assert re.search(r"^step 5/20  [\d.]+ it/s  \d+ s left  loss inner [\d.e-]+, loss outer [\d.e-]+", errors, re.MULTILINE)
    assert "val miou 50.0 %" in errors
    assert "testing on cityscapes: 8 images\ntesting on idd: 2 images" in errors
    assert "\r" not in errors


def test_a_log_file_is_not_flooded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_and_test(tmp_path, TrainingProgress(line_seconds=1000))
    steps = re.findall(r"^step (\d+)/20", capsys.readouterr().err, re.MULTILINE)
    assert steps == ["6", "12", "18", "20"], "after each validation and at the end"


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.9, 12.0, 40.0])
def test_slow_iterations_get_a_line_per_ten_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Rate, time left and the two totals; the line of a validation, with all terms, takes the place of the short one."""
    now = 0.0

    class Slow(TinyMethod):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            nonlocal now
            now += seconds
            super().training_step(batch, batch_idx)
            self.log("loss/part", 1.0)

    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    tiny_trainer(tmp_path, [TrainingProgress()], max_steps=40, val_check_interval=20).fit(Slow(), TinyDomains())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    steps = [int(re.findall(r"\d+", line)[0]) for line in lines]
    assert len(steps) == len(set(steps)), "no step twice"
    assert {20, 40} <= set(steps)
    for line, step, before in zip(lines, steps, [0, *steps], strict=False):
        assert ("loss part" in line) == (step in (20, 40))
        assert step in (20, 40) or (step - before) * seconds >= 10
        assert re.search(r"it/s  .* left  loss inner [\d.e-]+, loss outer [\d.e-]+", line)


def test_without_validations_the_last_step_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = tiny_trainer(tmp_path, [TrainingProgress(line_seconds=1000)], val_check_interval=10, limit_val_batches=0)
    trainer.fit(TinyMethod(), TinyDomains())
    assert re.findall(r"^step (\d+)/20", capsys.readouterr().err, re.MULTILINE) == ["20"]


def test_a_terminal_gets_one_bar_over_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress_module, "_BAR_SECONDS", 0.0)
    fit_and_test(tmp_path, TrainingProgress())
    shown = terminal.getvalue()
    assert re.search(r"training:.*\| 13/20 \[00:\d\d<00:\d\d, +[\d.]+it/s", shown)
    assert re.search(r"training: 100%.*\| 20/20", shown)
    assert re.search(r"loss inner=[\d.e-]+, loss outer=[\d.e-]+, val miou=50\.0 %", shown)
    assert "validating on gtav" in shown
    assert "validating on synthia" in shown
    assert "testing on idd" in shown
    assert "Epoch" not in shown


def test_a_resumed_run_starts_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_and_test(tmp_path, TrainingProgress())
    capsys.readouterr()
    trainer = tiny_trainer(tmp_path, [TrainingProgress(), LastCheckpoint(tmp_path)], max_steps=24)
    trainer.fit(TinyMethod(), TinyDomains(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    errors = capsys.readouterr().err
    assert "training: 24 steps, resumed from step 20" in errors
    assert "step 24/24" in errors


def test_the_time_before_the_first_step_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class SlowStart(TinyMethod):
        def on_train_start(self) -> None:
            time.sleep(1.5)

    tiny_trainer(tmp_path, [TrainingProgress(line_seconds=0)], val_check_interval=20).fit(SlowStart(), TinyDomains())
    rate = re.search(r"^step 5/20  ([\d.]+) it/s", capsys.readouterr().err, re.MULTILINE)
    assert rate
    assert float(rate[1]) > 5 / 1.5


def test_the_bar_of_a_terminal_does_not_count_it_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowStart(TinyMethod):
        def on_train_start(self) -> None:
            time.sleep(1.5)

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress_module, "_BAR_SECONDS", 0.0)
    tiny_trainer(tmp_path, [TrainingProgress()], val_check_interval=20).fit(SlowStart(), TinyDomains())
    rate = re.search(r"training:.*\| 5/20 \[[^,]*, +([\d.]+)it/s", terminal.getvalue())
    assert rate
    assert float(rate[1]) > 5 / 1.5


def test_validation_on_some_of_the_sources_is_named_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress_module, "_BAR_SECONDS", 0.0)
    monkeypatch.setattr(TinyDomains, "validation_names", ("synthia",))
    fit_and_test(tmp_path, TrainingProgress())
    assert "validating on synthia" in terminal.getvalue()
    assert "validating on gtav" not in terminal.getvalue()


def test_disabled_it_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(line_seconds=0)
    progress.disable()
    fit_and_test(tmp_path, progress)
    assert "step" not in capsys.readouterr().err.replace("max_steps", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (130, "2 min 10 s"), (3599.7, "1 h 00 min"), (90000, "25 h 00 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
