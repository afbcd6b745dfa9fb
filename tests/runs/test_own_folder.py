"""A command writes to its own folder alone: one that no other process holds, and that is no other run's."""

import datetime
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hydra.core.utils
import pytest
import yaml

import pin_memory.analyze
import pin_memory.compare
import pin_memory.evaluate
import pin_memory.predict
import pin_memory.report
import pin_memory.train
from pin_memory.runs.own_folder import new_folder
from pin_memory.utils import locking
from tests.helpers.in_process import run_in_process
from tests.helpers.locked import locked_by_another_process
from tests.helpers.tiny_run import TINY

Tree = dict[str, bytes]


def tree(folder: Path) -> Tree:
    """All files below a folder with their content, but for the lock."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a training that was begun with seed 7."""
    run = tmp_path / "runs" / "demo" / "first"
    (run / ".hydra").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["experiment=demo", "seed=7"]))
    (run / "log.txt").write_text("of the first\n")
    (run / "metrics.csv").write_text("step,loss/inner\n0,1.0\n1,0.5\n")
    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.1)


TRAIN = (pin_memory.train.main, ["experiment=demo", "seed=8", "hydra.run.dir={run}"])
SECOND = {
    "train": TRAIN,
    "train again": (pin_memory.train.main, ["experiment=demo", "seed=7", "hydra.run.dir={run}"]),
    "resume": (pin_memory.train.main, ["resume={run}", "seed=8"]),
    "resume from a file": (pin_memory.train.main, ["experiment=demo", "resume={run}/checkpoints/last.ckpt", "hydra.run.dir={run}"]),
    "evaluate": (pin_memory.evaluate.main, ["checkpoint={run}/checkpoints/last.ckpt", "hydra.run.dir={run}"]),
    "analyze": (pin_memory.analyze.main, ["checkpoint={run}/checkpoints/last.ckpt", "hydra.run.dir={run}"]),
    "report": (pin_memory.report.main, ["run={run}"]),
    "sweep": (pin_memory.train.main, ["-m", "experiment=demo", "seed=8,9", "hydra.sweep.dir={run}"]),
}

RARER = ("train again", "resume from a file", "sweep", "analyze")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("second", [pytest.param(name, marks=pytest.mark.slow if name in RARER else ()) for name in SECOND])
def test_nothing_is_written_in_a_folder_that_another_process_holds(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    """Neither settings nor log; the message names the folder."""
    main, arguments = SECOND[second]
    before = tree(begun)
    with locked_by_another_process(begun):
        code, _, said = run_in_process(main, [argument.format(run=begun) for argument in arguments], tmp_path / "cwd", capsys)
    assert code == 2, said
    assert f"{begun}: another process is at work on this run" in said
    assert tree(begun) == before
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.usefixtures("impatient")
def test_the_report_of_a_run_at_work_can_be_written_elsewhere(begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(begun)
    with locked_by_another_process(begun):
        code, _, said = run_in_process(pin_memory.report.main, [f"run={begun}", "output=report.html"], tmp_path / "cwd", capsys)
    assert code == 0, said
    assert (tmp_path / "cwd" / "report.html").is_file()
    assert tree(begun) == before


@pytest.mark.parametrize("second", ["train", "evaluate", pytest.param("analyze", marks=pytest.mark.slow)])
def test_the_folder_of_a_run_that_is_over_is_not_taken_either(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str
) -> None:
    main, arguments = SECOND[second]
    before = tree(begun)
    code, _, said = run_in_process(main, [argument.format(run=begun) for argument in arguments], tmp_path / "cwd", capsys)
    assert code == 2, said
    assert "already holds a run" in said
    assert f"resume={begun}" in said
    assert tree(begun) == before


@pytest.mark.parametrize("place", ["first", "evaluated", "failed"])
@pytest.mark.parametrize("command", ["compare", "predict"])
def test_results_of_another_command_do_not_go_into_a_run(
    begun: Path, tmp_path: Path, place: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun.parent / place
    (run / ("checkpoints" if place == "first" else ".hydra")).mkdir(parents=True, exist_ok=True)
    (run / "report.html").write_text("the run's")
    (begun / "photo.png").write_bytes(b"")
    main = {"compare": pin_memory.compare.main, "predict": pin_memory.predict.main}[command]
    about = [f"runs={begun}"] if command == "compare" else [f"checkpoint={begun}", f"input={begun / 'photo.png'}"]
    before = tree(run)
    code, _, said = run_in_process(main, [*about, f"output={run}"], tmp_path / "cwd", capsys)
    assert code == 2, said
    assert f"output={run} is the folder of a run" in said
    assert tree(run) == before


def test_an_attempt_that_failed_before_it_began_is_repeated_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the settings of the newest attempt on record, and the message of each in the log."""
    for seed in (1, 2):
        arguments = ["experiment=demo", "hydra.run.dir=run", "network.backbone.freeze=norm", f"seed={seed}"]
        assert run_in_process(pin_memory.train.main, arguments, tmp_path, capsys)[0] == 2
    assert f"seed={seed}" in yaml.safe_load((tmp_path / "run" / ".hydra" / "overrides.yaml").read_text())
    assert (tmp_path / "run" / "log.txt").read_text().count("ConfigurationError: network.backbone.freeze=norm") == 2


LATE_MISTAKE = ["experiment=demo", "network.backbone.freeze=norm"]
"""Found when the network is built, after the run folder is made."""


class Noon(datetime.datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz: Any = None) -> "Noon":
        return cls(2026, 1, 31, 12)


@pytest.mark.parametrize(
    ("main", "arguments", "place"),
    [
        (pin_memory.train.main, LATE_MISTAKE, "demo"),
        (pin_memory.evaluate.main, ["checkpoint=empty.ckpt"], "evaluation"),
        (pin_memory.analyze.main, ["checkpoint=empty.ckpt"], "analysis"),
        pytest.param(pin_memory.train.main, ["-m", *LATE_MISTAKE], "demo/multirun", marks=pytest.mark.slow),
    ],
)
def test_runs_of_one_second_get_a_folder_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    main: Callable[[], None], arguments: list[str], place: str,
) -> None:  # fmt: skip
    """Also when they are run by one command after the other, and by a sweep."""
    monkeypatch.setattr(hydra.core.utils, "datetime", Noon)
    monkeypatch.delenv("PIN_MEMORY_RUNS", raising=False)
    (tmp_path / "empty.ckpt").touch()
    for _ in range(3):
        assert run_in_process(main, arguments, tmp_path, capsys)[0] == 2
    found = sorted((tmp_path / "runs" / place).iterdir())
    assert [folder.name for folder in found] == [f"2026-01-31_12-00-00{number}" for number in ("", "_2", "_3")]
    for folder in found:
        assert list(folder.rglob("log.txt")), "each has its own log"


def test_one_process_makes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want it; the other processes of a run have the folder of its first."""
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(new_folder, [str(tmp_path / "a" / "run")] * 32))
    assert len(set(made)) == 32
    assert {str(path) for path in (tmp_path / "a").iterdir()} == set(made)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("pin_memory.runs.own_folder.is_first", lambda: False)
    assert new_folder(str(tmp_path / "a" / "run")) == str(tmp_path / "a" / "run")


@pytest.mark.slow
@pytest.mark.reliability
def test_two_trainings_that_start_together_in_one_folder(tmp_path: Path) -> None:
    """One trains, the other is refused; what is on record, and resumed, is the seed of the one that trained."""
    command = [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, "hydra.run.dir=run", "logger=csv"]
    both = {seed: subprocess.Popen([*command, f"seed={seed}"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) for seed in (1, 2)}
    said = {seed: process.communicate(timeout=300)[1] for seed, process in both.items()}
    codes = {seed: process.returncode for seed, process in both.items()}
    assert sorted(codes.values()) == [0, 2], said
    (first,) = (seed for seed, code in codes.items() if code == 0)
    recorded = yaml.safe_load((tmp_path / "run" / ".hydra" / "overrides.yaml").read_text())
    assert [override for override in recorded if override.startswith("seed=")] == [f"seed={first}"]
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == first
    more = [sys.executable, "-m", "pin_memory.train", "resume=run", "trainer.max_steps=4", "test=false"]
    assert subprocess.run(more, cwd=tmp_path, timeout=300, check=False).returncode == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == first
