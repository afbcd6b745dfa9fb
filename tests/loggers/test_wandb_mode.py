"""Online, offline or disabled."""

import importlib.util
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pin_memory.loggers import finish_wandb, wandb_logger, wandb_mode
from pin_memory.loggers import wandb as wandb_module
from pin_memory.utils.errors import ConfigurationError

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


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

    def test_online_with_a_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        assert wandb_mode()[0] == "online"

    def test_a_key_in_the_netrc_file_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        host = os.environ["WANDB_BASE_URL"].removeprefix("http://")
        (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
        (tmp_path / ".netrc").chmod(0o600)
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

    def test_a_resumed_training_continues_its_run_on_the_server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the id of the earlier run, and allowed to continue what the server has of it."""
        asked: list[dict[str, Any]] = []

        def init(**options: Any) -> SimpleNamespace:
            asked.append(options)
            return SimpleNamespace(id=options["id"], url="", define_metric=lambda *_, **__: None, finish=lambda: None)

        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr("wandb.init", init)
        monkeypatch.setattr(wandb_module, "WandbLogger", lambda **options: options)
        try:
            wandb_logger(tmp_path / "run")
            wandb_logger(tmp_path / "run", resume=tmp_path / "run")
        finally:
            finish_wandb()
        assert asked[0]["id"] == asked[1]["id"]
        assert [options["resume"] for options in asked] == ["allow", "allow"]

    def test_a_server_that_cannot_be_reached_leaves_the_run_offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(wandb_module, "_INIT_SECONDS", 1.0)
        try:
            assert wandb_logger(tmp_path) is not None
        finally:
            finish_wandb()
        assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_without_the_package_wandb_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert wandb_mode("online") == ("disabled", "the package wandb is not installed")
