"""What the settings of a run say to a server: no folder of this machine, no password; what W&B cannot keep at home is said."""

import json
import logging
from pathlib import Path

import pytest

from pin_memory.loggers.wandb_about import privacy, settings_of


def test_folders_and_passwords_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    uri = "https://somebody:secret@server.example/mlflow"
    run = {"paths": {"run": str(tmp_path), "data": "/home/somebody/data"}, "dirs": [f"{tmp_path}/panels"], "uri": uri, "seed": 3}
    (tmp_path / "config.yaml").write_text(json.dumps(run))
    (tmp_path / "provenance.json").write_text('{"revision": "abc"}')
    found = settings_of(tmp_path)
    assert found == {
        "paths": {"run": ".", "data": "~/data"},
        "dirs": ["./panels"],
        "uri": "https://server.example/mlflow",
        "seed": 3,
        "provenance": {"revision": "abc"},
    }


def test_a_setting_that_wandb_no_longer_has_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert privacy(False, {"host"}) == {"host": ""}
    assert "x_disable_meta" in caplog.text
    assert "mode=offline" in caplog.text
    assert privacy(True, {"host"}) == {}
