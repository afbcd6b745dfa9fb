"""Online runs against servers that refuse, hang and die half-way, and what lies on the disk afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pin_memory.loggers import describe_run, finish_wandb, wandb_logger
from pin_memory.loggers import wandb as wandb_module
from tests.helpers.tiny_run import TINY
from tests.helpers.wandb_records import read_parts
from tests.helpers.wandb_server import WandbServer

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of W&B are read anew, and limits are short."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(wandb_module, "_INIT_SECONDS", 3.0)
    monkeypatch.setattr(wandb_module, "_FINISH_SECONDS", 3.0)
    wandb_module._teardown()
    yield
    finish_wandb()
    wandb_module._teardown()


def use(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let W&B in this process see no other server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def log_losses(logger: Any, *values: float) -> None:
    for value in values:
        logger.log_metrics({"loss": value}, step=int(value))


def losses(run: Path) -> list[float]:
    """What lies in the files of a run folder, whichever they are, when W&B's own process has ended."""
    wandb_module._teardown()
    return [value for part in read_parts(run) for value in part.history.get("loss", [])]


def test_a_server_that_answers_has_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        use(server, monkeypatch)
        logger = wandb_logger(tmp_path)
        log_losses(logger, 1, 2, 3)
        finish_wandb()
        (run_id,) = server.runs
        assert [row["loss"] for row in server.history(run_id)] == [1, 2, 3]
    assert losses(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("system", [False, True])
def test_nothing_is_said_of_the_machine_unless_it_is_asked_for(system: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the host, nor the user, the command line, the packages, the interpreter, nor what the processors do."""
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-ours")
    monkeypatch.setattr(sys, "argv", ["program-of-ours", "argument-of-ours"])
    monkeypatch.setenv("USER", "user-of-ours")
    monkeypatch.setenv("LOGNAME", "user-of-ours")
    with WandbServer() as server:
        use(server, monkeypatch)
        logger = wandb_logger(tmp_path, system=system, entity="me", notes="as noted", tags=["own"])
        log_losses(logger, 1)
        describe_run("mine", "small", 3, stand_in=False)
        finish_wandb()
        (run_id,) = server.runs
        sent = json.dumps(server.requests)
        names = {name for _, body in server.requests if isinstance(body, dict) for name in (body.get("variables") or {}).get("files") or ()}
    wandb_module._teardown()
    (file,) = tmp_path.glob("wandb/run-*/*.wandb")
    kept = file.read_bytes().decode(errors="replace")
    private = ["host-of-ours", "argument-of-ours", "user-of-ours", sys.executable]
    assert [any(word in text for word in private) for text in (sent, kept)] == [system, system]
    assert bool({"requirements.txt", "wandb-metadata.json"} & names) == system
    about = server.runs[run_id]
    assert (about["entity"], about["displayName"], about["tags"], about["notes"]) == (
        "me",
        "mine seed 3",
        ["own", "mine", "seed-3"],
        "as noted",
    )


@pytest.mark.parametrize(
    "behaviour", ["refuses", *(pytest.param(name, marks=pytest.mark.reliability) for name in ("hangs", "fails", "nonsense"))]
)
def test_a_server_that_does_not_take_the_run(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with WandbServer(behaviour) as server:
        use(server, monkeypatch)
        start = time.perf_counter()
        log_losses(wandb_logger(tmp_path), 1, 2, 3)
        finish_wandb()
        assert time.perf_counter() - start < 30
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    assert losses(tmp_path) == [1, 2, 3]
    assert len([record for record in caplog.records if "wandb sync" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    "behaviour", ["hangs", *(pytest.param(name, marks=pytest.mark.reliability) for name in ("refuses", "fails", "nonsense"))]
)
def test_a_server_that_stops_half_way(behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        use(server, monkeypatch)
        logger = wandb_logger(tmp_path)
        log_losses(logger, 1, 2)
        server.behaviour = behaviour
        log_losses(logger, 3, 4)
        start = time.perf_counter()
        finish_wandb()
        assert time.perf_counter() - start < 20
    assert losses(tmp_path) == [1, 2, 3, 4]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find W&B's own process")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_wandbs_own_process_ends_or_hangs(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_module, "_FINISH_SECONDS", -7.0)  # and ten more
    logger = wandb_logger(tmp_path, mode="offline")
    log_losses(logger, 1, 2)
    (core,) = cores()
    os.kill(core, how)
    log_losses(logger, 3, 4)
    start = time.perf_counter()
    finish_wandb()
    assert time.perf_counter() - start < 15
    while core in cores() and time.perf_counter() - start < 20:
        time.sleep(0.1)
    assert core not in cores()  # for which Python would wait at its end
    assert len([record for record in caplog.records if record.name.startswith("pin_memory") and record.levelname == "WARNING"]) == 1
    log_losses(wandb_logger(tmp_path / "next", mode="offline"), 1, 2)  # as the next job of a sweep
    finish_wandb()
    assert losses(tmp_path / "next") == [1, 2]


def cores() -> set[int]:
    """W&B's own processes that this one has started and that live."""
    pids = {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
    found = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has ended meanwhile
            found |= {int(pid)} if "wandb-core" in Path(f"/proc/{pid}/cmdline").read_text() else set()  # empty for one that is dead
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [("WANDB_BASE_URL", "nonsense"), ("WANDB_SILENT", "perhaps"), ("WANDB_IDENTITY_TOKEN_FILE", "/no/such/file"), ("WANDB_DIR", "/proc/x")],
)
def test_an_environment_that_wandb_does_not_start_in(name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    log_losses(wandb_logger(tmp_path), 1, 2)
    finish_wandb()
    assert losses(tmp_path) == [1, 2]


def test_a_run_folder_where_no_file_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("in the way")
    assert wandb_logger(tmp_path, mode="offline") is None


def test_pictures_that_cannot_be_written_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where the disk is full: W&B copies a picture into the run's folder of files."""
    logger = wandb_logger(tmp_path, mode="offline")
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files")
    (files / "media").write_text("in the way")
    for _ in range(2):
        logger.experiment.log({"picture": wandb.Image(torch_picture())})
    log_losses(logger, 1, 2)
    finish_wandb()
    assert losses(tmp_path) == [1, 2]
    assert len([record for record in caplog.records if "run.log" in record.getMessage()]) == 1


def torch_picture() -> Any:
    import torch

    return torch.zeros(3, 8, 8)


def test_a_training_whose_server_refuses_half_way(tmp_path: Path) -> None:
    with WandbServer(then="refuses") as server:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | server.environment
        command = [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, "hydra.run.dir=run", "trainer.log_every_n_steps=1"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=400, check=False
        )
        assert server.behaviour == "refuses"
    assert done.returncode == 0, done.stderr
    (part,) = read_parts(tmp_path / "run")
    assert len(part.history["loss/outer"]) == 3
    assert part.summary["test/mean_miou"] >= 0
    assert (tmp_path / "run" / "report.html").is_file()
