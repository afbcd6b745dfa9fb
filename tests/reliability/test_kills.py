"""Twenty kills of a stand-in run at random moments, some of them while a checkpoint is written; from each it reaches the same end.

    pytest -m reliability tests/reliability/test_kills.py -s

The command line is always the same, as in a job that a cluster starts again (`resume=auto`). What a kill leaves is copied and finished,
besides, so that each of the kills is followed by a resumption to the end.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pin_memory.domains.stand_ins.writers import StandIns
from tests.helpers.resumption import TINY, differences, fit, left

ROOT = Path(__file__).parents[2]
KILLS = 20
WRITING = 8  # of them, when a checkpoint's temporary file appears
STEPS = "trainer.max_steps=30"
SECONDS = 300  # a process may take to come as far as it is to be killed
pytestmark = pytest.mark.reliability


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of every data set."""
    root = tmp_path_factory.mktemp("data") / "sets"
    StandIns(root, images_per_domain=8, seed=1, width=160).prepare()
    return root


def begin(data: Path, run: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start the run, or resume it: the same command."""
    settings = [setting for setting in TINY if not setting.startswith("paths.output")]
    command = [sys.executable, "-m", "pin_memory.train", *settings, STEPS, f"paths.data={data}", f"hydra.run.dir={run}", "resume=auto"]
    with log.open("ab") as file:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=run.parent, stdout=file, stderr=file, env=environment)


def is_writing(run: Path) -> bool:
    """Whether a checkpoint is being written this moment."""
    try:
        return any(entry.name.startswith((".last.", ".best.")) for entry in os.scandir(run / "checkpoints"))
    except FileNotFoundError:
        return False


def says_training(log: Path, start: int) -> bool:
    """Whether the progress line of a training is among what was said from a position on."""
    return b"training: " in log.read_bytes()[start:]


def wait(process: "subprocess.Popen[bytes]", until: Callable[[], bool], pause: float) -> bool:
    """Wait until something happens or the process ends; whether it happened."""
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        if until():
            return True
        time.sleep(pause)
    return False


def strike(
    process: "subprocess.Popen[bytes]", run: Path, is_training: Callable[[], bool], number: int, writing: bool, generator: random.Random
) -> str | None:
    """Send a signal at a random moment; in which phase it hit, or None if the process had ended before."""
    if writing:
        skipped = generator.randrange(1, 5)  # not always the first checkpoint after a start
        for _ in range(skipped):
            if not (wait(process, lambda: is_writing(run), 0.0005) and wait(process, lambda: not is_writing(run), 0.0005)):
                return None
        if not wait(process, lambda: is_writing(run), 0.0002):
            return None
    else:
        if generator.random() < 0.8 and not wait(process, is_training, 0.01):  # the others hit the start of the process
            return None
        moment = time.monotonic() + generator.uniform(0, 6)
        if not wait(process, lambda: time.monotonic() > moment, 0.001):
            return None
    training = is_training()
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait()
        hit = is_writing(run)  # a temporary file was left: the write was cut off
    else:
        hit = writing
        process.wait(SECONDS)
        assert process.returncode in (143, -signal.SIGTERM, 0), process.returncode
        if process.returncode == 0:  # the signal came when all was done
            return None
    return "while a checkpoint was written" if hit else "in training" if training else "before training"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_reaches_the_same_end_from_every_kill(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Weights, memory, batch norm, optimiser, schedule, best weights, trace and metrics are bitwise those of the run that was never hit."""
    began, generator = time.monotonic(), random.Random(304 + number)
    fit(data, tmp_path / "never", STEPS)
    reference = left(tmp_path / "never")
    phases: Counter[str] = Counter()
    resumed = runs = 0
    run, log = tmp_path / "run0", tmp_path / "log.txt"
    while phases.total() < KILLS:
        said = log.stat().st_size if log.is_file() else 0
        process = begin(data, run, log)
        writing = phases["while a checkpoint was written"] < WRITING and generator.random() < 0.6
        phase = strike(process, run, partial(says_training, log, said), number, writing, generator)
        if phase is None:  # it came to its end
            assert process.wait(SECONDS) == 0, log.read_text()[-3000:]
            assert differences(reference, left(run)) == []
            runs += 1
            run = tmp_path / f"run{runs}"
            continue
        phases[phase] += 1
        print(f"{number.name} {phases.total()}: {phase}", flush=True)
        if (run / "checkpoints").is_dir():
            copy = tmp_path / f"copy{phases.total()}"
            shutil.copytree(run, copy)
            fit(data, copy, STEPS, resume=copy)
            assert differences(reference, left(copy)) == [], (phase, phases)
            resumed += 1
            shutil.rmtree(copy)
    process = begin(data, run, log)
    assert process.wait(SECONDS) == 0, log.read_text()[-3000:]
    assert differences(reference, left(run)) == []
    where = ", ".join(f"{count} {phase}" for phase, count in phases.items())
    print(
        f"\n{number.name}: {phases.total()} ({where}); from {resumed} a copy was finished, too; {runs + 1} runs came to their end,"
        f" all equal; {time.monotonic() - began:.0f} s"
    )
