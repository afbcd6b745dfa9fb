import csv
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pin_memory import loggers
from pin_memory.errors import ConfigurationError
from pin_memory.loggers import CSVLogger, wandb_logger, wandb_mode

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCSVLogger:
    def test_writes_exactly_the_file_it_is_given(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "run" / "metrics.csv")
        logger.log_metrics({"loss": torch.tensor(0.5), "epoch": 0}, step=10)
        logger.finalize("success")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]
        assert rows(logger.path) == [{"step": "10", "epoch": "0", "loss": "0.5"}]

    def test_new_metrics_widen_the_file(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv", flush_every=1)
        for step, metrics in enumerate([{"loss": 1.0}, {"loss": 0.5}, {"miou": 0.25}]):
            logger.log_metrics(metrics, step)
        logger.finalize("success")
        assert [(row["step"], row["loss"], row["miou"]) for row in rows(logger.path)] == [
            ("0", "1.0", ""),
            ("1", "0.5", ""),
            ("2", "", "0.25"),
        ]

    def test_metrics_of_one_step_share_a_row_unless_logged_twice(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv")
        logger.log_metrics({"a": 1.0}, 3)
        logger.log_metrics({"b": 2.0}, 3)
        logger.log_metrics({"b": 4.0}, 3)
        logger.save()
        assert [(row["a"], row["b"]) for row in rows(logger.path)] == [("1.0", "2.0"), ("", "4.0")]

    def test_a_resumed_run_keeps_its_history(self, tmp_path: Path) -> None:
        for step in (1, 2):
            logger = CSVLogger(tmp_path / "metrics.csv")
            logger.log_metrics({"loss": 1.0} if step == 1 else {"loss": 0.5, "lr": 0.1}, step)
            logger.finalize("success")
        assert [(row["step"], row["loss"], row["lr"]) for row in rows(tmp_path / "metrics.csv")] == [("1", "1.0", ""), ("2", "0.5", "0.1")]

    def test_rows_are_written_as_they_come_not_only_at_the_end(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv", flush_every=2)
        for step in range(5):
            logger.log_metrics({"loss": 1.0}, step)
        assert len(rows(logger.path)) == 4


@needs_wandb
class TestWandbMode:
    @pytest.fixture(autouse=True)
    def _fresh_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody logged in, nothing set, and no server but a closed port of this machine."""
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")

    def test_offline_without_a_key(self) -> None:
        mode, reason = wandb_mode()
        assert mode == "offline"
        assert "no API key" in reason

    def test_offline_without_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        mode, reason = wandb_mode()
        assert mode == "offline"
        assert "no answer from 127.0.0.1" in reason

    def test_online_with_a_key_and_a_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(loggers, "_answers", lambda url, seconds: True)
        assert wandb_mode()[0] == "online"

    def test_a_key_in_the_netrc_file_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        host = os.environ["WANDB_BASE_URL"].removeprefix("http://")
        (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
        (tmp_path / ".netrc").chmod(0o600)
        monkeypatch.setattr(loggers, "_answers", lambda url, seconds: True)
        assert wandb_mode()[0] == "online"

    @pytest.mark.parametrize(("value", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")])
    def test_follows_the_environment(self, value: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_MODE", value)
        assert wandb_mode() == (mode, "set by WANDB_MODE")

    def test_a_setting_of_ours_comes_before_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_MODE", "online")
        assert wandb_mode("disabled") == ("disabled", "set by logger.wandb.mode")

    def test_unknown_modes_are_refused_with_the_choices(self) -> None:
        with pytest.raises(ConfigurationError, match="auto, online, offline, disabled"):
            wandb_mode("ofline")

    def test_disabled_gives_no_logger(self, tmp_path: Path) -> None:
        assert wandb_logger(tmp_path, mode="disabled") is None

    def test_a_server_that_accepts_and_says_nothing_is_not_waited_for(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            assert not loggers._answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.2)


def test_without_the_package_wandb_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert wandb_mode("online") == ("disabled", "the package wandb is not installed")


OFFLINE_RUN = """
import sys
from pin_memory.loggers import finish_wandb, wandb_logger
for job in range(2):  # as in a sweep: each job has a run of its own
    logger = wandb_logger(f"{sys.argv[1]}/{job}", group="demo", tags=["stand-in"])
    logger.log_hyperparams({"lr": 0.01})
    logger.log_metrics({"loss": 1.0}, step=1)
    finish_wandb()
"""


@needs_wandb
@pytest.mark.slow
def test_a_fresh_machine_logs_offline_into_the_run_folder(tmp_path: Path) -> None:
    home, cwd, runs = (tmp_path / name for name in ("home", "cwd", "runs"))
    home.mkdir()
    cwd.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | {"HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_RUN, str(runs)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for job in ("0", "1"):
        assert len(list((runs / job / "wandb").glob("offline-run-*/*.wandb"))) == 1
        assert not list((runs / job).rglob("*.py"))
        assert not list((runs / job).rglob("*.patch"))
    assert not list(cwd.iterdir())
