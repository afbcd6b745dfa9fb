"""What all tests share: one thread, nothing over the network, and the reference material where it is at hand."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra.core.hydra_config import HydraConfig

from tests.helpers.tiny_run import train_tiny

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read when albumentations is imported
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)

NARROW = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX", "MKL_ENABLE_INSTRUCTIONS": "AVX"}
"""What makes PyTorch, its convolutions and its matrix products use the instructions of an old processor; read when they are loaded."""

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference material in {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PIN_MEMORY_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_command_left() -> Iterator[None]:
    """Take away what a command called in this process leaves: its settings in Hydra, its log file in a folder that may be gone."""
    yield
    HydraConfig.instance().cfg = None
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).name == "log.txt":
            logging.getLogger().removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny demo with W&B offline, trained once for all test processes; its data lie in `../../stand_ins`. Read only."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with FileLock(folder / "trained_run.lock"):
        if not (folder / "trained_run" / "done").is_file():
            shutil.rmtree(folder / "trained_run", ignore_errors=True)
            train_tiny(folder / "trained_run")
            (folder / "trained_run" / "done").touch()
    return folder / "trained_run" / "runs" / "demo" / "tiny"


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny network with weights of chance, which `trust=[tests]` loads in a moment. Read only."""
    from tests.helpers.untrained_run import write_untrained  # imports what most tests do not need

    return write_untrained(tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def data(trained_run: Path) -> Path:
    """The stand-ins of the tiny run."""
    return trained_run.parents[1] / "stand_ins"


@pytest.fixture(scope="session")
def narrow() -> Iterator[Callable[..., Any]]:
    """Runs a function in a process whose sums are those of an old processor: other vectors, no fused multiply-adds. One process for all."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in NARROW.items():
                environment.setenv(name, value)
            processes.submit(torch.set_num_threads, 1).result()  # starts the process
        yield lambda function, *arguments: processes.submit(function, *arguments).result()


@pytest.fixture
def golden_error(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Call it with a quantity and its relative error to the golden number; the largest of each are printed at the end of the run."""

    def record(quantity: str, error: float) -> None:
        request.node.user_properties.append(("golden", [quantity, float(error)]))

    return record


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the largest error of each quantity that was compared with golden numbers."""
    largest: dict[str, tuple[float, int]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for key, value in report.user_properties:
                if key == "golden":
                    worst, count = largest.get(value[0], (0.0, 0))
                    largest[value[0]] = (max(worst, value[1]), count + 1)
    if largest:
        terminalreporter.section("largest relative errors to the released code")
        width = max(map(len, largest))
        for quantity, (worst, count) in sorted(largest.items()):
            terminalreporter.line(f"{quantity:<{width}}  {worst:8.1e}  ({count} comparisons)")
