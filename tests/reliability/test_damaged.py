"""Hundreds of damaged inputs: each ends in a clear error, in a documented skip or, where the damage leaves a readable file, in a result.

    python -m pytest tests/reliability/test_damaged.py -m "reliability or not reliability"

With `DAMAGED_TABLE=FILE` in the environment the outcomes are counted into a Markdown table.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pin_memory.cli.errors import explain
from pin_memory.export import main as export
from tests.helpers.limits import memory_limit, time_limit
from tests.reliability import damaged_documents, damaged_pictures, damaged_tensors
from tests.reliability.cases import Case, Originals

ROOT = Path(__file__).parents[2]
SECONDS = 30  # that a case may take
GIBIBYTES = 1.5  # that a case may take
ERROR = "clear error"
_EVERY = 16  # one of so many is part of the default suite

CASES = [*damaged_pictures.cases(), *damaged_documents.cases(), *damaged_tensors.cases()]
_counts: Counter[tuple[str, str]] = Counter()


def _parameters() -> list[Any]:
    return [
        pytest.param(case, id=case.name, marks=() if place % _EVERY == 0 else pytest.mark.reliability) for place, case in enumerate(CASES)
    ]


@pytest.fixture(scope="module")
def originals(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Originals:
    """A run, and its network exported."""
    exported = tmp_path_factory.mktemp("exported") / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(exported.parent)
        patch.setattr("sys.argv", ["export", f"checkpoint={trained_run}", "format=safetensors", f"output={exported}"])
        export()
    return Originals(trained_run, exported)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the counts when all cases are through."""
    yield
    if path := os.environ.get("DAMAGED_TABLE"):
        kinds, outcomes = (list(dict.fromkeys(key[place] for key in _counts)) for place in (0, 1))
        rows = [[kind, *(str(_counts[kind, outcome] or "-") for outcome in outcomes)] for kind in kinds]
        total = ["all", *(str(sum(_counts[kind, outcome] for kind in kinds)) for outcome in outcomes)]
        lines = [["input", *outcomes], ["---"] * (len(outcomes) + 1), *rows, total]
        Path(path).write_text("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


@pytest.mark.parametrize("case", _parameters())
def test_a_damaged_input(case: Case, originals: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read, hopeless = case.make(tmp_path, random.Random(f"{case.kind} {case.number}"), originals)
    try:
        with time_limit(SECONDS), memory_limit(GIBIBYTES):
            outcome = read()
    except (Exception, SystemExit) as error:
        reported = error.__context__ if isinstance(error, SystemExit) else error
        mistake = explain(reported) if reported is not None else None
        if mistake is None:
            raise
        assert len(mistake.message) > 30
        assert "Traceback" not in mistake.message
        assert mistake.exit_code in (2, 3)
        outcome = ERROR
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)
    assert not (hopeless and outcome == "valid result"), f"passed for intact: {case.name}"
    _counts[case.kind, outcome] += 1


def test_there_are_enough() -> None:
    assert len(CASES) >= 500
    assert len({case.name for case in CASES}) == len(CASES)
    json.dumps([case.name for case in CASES])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system's kernel keeps no peak that can be reset")
@pytest.mark.parametrize(("taken", "noticed"), [(2**29, True), (2**20, False)])
def test_a_moment_of_much_memory_is_noticed(taken: int, noticed: bool) -> None:
    """In a process of its own: in this one the system may take back what earlier tests left, while the peak grows."""
    code = f"from tests.helpers.limits import memory_limit\nwith memory_limit(0.1): b'x' * {taken}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, "took 0." in ended.stderr) == (int(noticed), noticed), ended.stderr
