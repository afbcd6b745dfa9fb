"""Files that strangers may have made: damage is reported, and nothing in them is run (tests/runs/test_untrusted.py has the commands)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.safe_load import load_arrays, load_weights_only, read_json, read_json_or, read_yaml


def test_json_has_a_size_and_a_depth(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="too deeply"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "b.json") == [1, 2, 3]
    with pytest.raises(ValueError, match="at most 8 are read"):
        read_json(tmp_path / "b.json", limit=8)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a pipe"):
        read_json(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['true']", "a: *b", "a: " + "[" * 3_000, "\x00"])
def test_yaml_is_of_plain_values(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match="no YAML of plain values"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: {b: [1, x]}")
    assert read_yaml(tmp_path / "b.yaml") == {"a": {"b": [1, "x"]}}


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "a.ckpt")
    assert load_weights_only(tmp_path / "a.ckpt")["a"].numel() == 1000
    (tmp_path / "b.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:500])
    with pytest.raises(ConfigurationError, match=r"b\.ckpt is not a readable checkpoint .*Is it complete"):
        load_weights_only(tmp_path / "b.ckpt")
    for path, reason in ((tmp_path / "c.ckpt", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigurationError, match=f"cannot be read .*{reason}"):
            load_weights_only(path)


def test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.zeros(2))
    assert load_arrays(tmp_path / "a.npz", "a").keys() == {"a"}
    assert load_arrays(tmp_path / "a.npz").keys() == {"a", "b"}
    with pytest.raises(DataError, match="c is not a file in the archive"):
        load_arrays(tmp_path / "a.npz", "c")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(DataError, match=r"b\.npz is not a readable npz file"):
        load_arrays(tmp_path / "b.npz")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_and_yaml_that_an_editor_has_saved_anew(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes('{"a": "Köln",\r\n "b": 1}  \r\n'.encode(encoding))
    assert read_json(tmp_path / "a") == read_yaml(tmp_path / "a") == {"a": "Köln", "b": 1}


def test_json_and_yaml_in_another_encoding_say_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes('{"a": 1,\n"b": "Köln"}'.encode("latin-1"))
    for read in (read_json, read_yaml):
        with pytest.raises(ValueError, match="line 2 holds the byte 0xf6, which is no UTF-8"):
            read(tmp_path / "a")


def test_a_record_that_cannot_be_read_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_json_or(tmp_path / "nowhere.json", 1) == 1
    assert not caplog.text
    (tmp_path / "a.json").write_bytes('{"a": "Köln"}'.encode("latin-1"))
    assert read_json_or(tmp_path / "a.json", {}) == {}
    assert f"{tmp_path / 'a.json'} is no readable JSON and is passed over: line 1 holds the byte 0xf6" in caplog.text
