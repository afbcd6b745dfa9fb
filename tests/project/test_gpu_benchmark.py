"""The benchmark for GPUs: what it does without one, and its code on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """The benchmark's output; it has to end well."""
    line = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(line, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_without_a_gpu_it_says_so() -> None:
    """And ends with exit code 0."""
    assert "no GPU" in run()


@pytest.mark.slow
@pytest.mark.reliability
def test_all_parts_run_on_a_cpu(tmp_path: Path) -> None:
    """On small images, compilation left out: every figure is there, and the resumed training equals the other."""
    run("--device", "cpu", "--tiny", "--output", str(tmp_path))
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["resumption"] == []
    assert len(found["kernels"]) == 10
    assert all(rate > 0 for rate in found["evaluation"].values())
    measured = {name for name, row in found["steps"].items() if row}
    assert measured == {name for name in found["steps"] if "compile" not in name}
    assert "bit by bit equal" in (tmp_path / "gpu.md").read_text()
