"""What may not be read is reported as such: never as damaged, missing, or a place for writing."""

import errno
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pin_memory.cli.errors import explain
from pin_memory.domains.readers.mapillary import check_config
from pin_memory.evaluation.compared_runs import _results_files
from pin_memory.exporting.weights import ExportSettings
from pin_memory.runs.results import Results
from pin_memory.utils.checkpoint_io import load_intact
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import UserError
from pin_memory.utils.files import LogFile, read_text, write_text
from pin_memory.utils.safe_load import load_weights_only, read_json, read_yaml

WRITING = ("paths.output", "disk", "choose another folder", "amaged", "Get it again", "Is it complete")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the system refuses to open, whoever asks: the bits of a file mean nothing to root."""
    path = tmp_path / "refused" / "file"
    path.parent.mkdir()
    path.write_text("{}")
    opened, made = io.open, os.open

    def refuse(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(name, str | os.PathLike) and Path(name).parent.name == "refused":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))
            return function(name, *arguments, **options)

        return call

    for module, name, function in (("io", "open", opened), ("builtins", "open", opened), ("os", "open", made)):
        monkeypatch.setattr(f"{module}.{name}", refuse(function))
    monkeypatch.setattr("os.scandir", refuse(os.scandir))
    return path


READING: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.read_bytes(),
    "open": lambda path: path.open("rb"),
    "text": read_text,
    "json": read_json,
    "yaml": read_yaml,
    "arrays": lambda path: np.load(path, allow_pickle=False),
    "folder": lambda path: list(os.scandir(path)),
    "checkpoint": load_weights_only,
    "checkpoint with checksums": load_intact,
    "image": read_rgb,
    "results": Results.read,
    "settings of an export": ExportSettings.read,
    "classes of Mapillary": lambda path: check_config(path, "v1.2"),
}


@pytest.mark.parametrize("kind", READING)
def test_a_refusal_to_read_says_so(refused: Path, kind: str) -> None:
    with pytest.raises((OSError, UserError)) as raised:
        READING[kind](refused)
    mistake = explain(raised.value)
    assert mistake is not None
    assert "annot read" in mistake.message or "cannot be read" in mistake.message
    assert str(refused) in mistake.message
    assert not any(word in mistake.message for word in WRITING)


def log_file(path: Path) -> None:
    LogFile(str(path)).begin()


@pytest.mark.parametrize(
    "write", [lambda path: write_text(path, "x"), lambda path: path.open("w"), lambda path: path.write_bytes(b""), log_file]
)
def test_a_refusal_to_write_says_so(refused: Path, write: Callable[[Path], object]) -> None:
    with pytest.raises(PermissionError) as raised:
        write(refused)
    mistake = explain(raised.value)
    assert mistake is not None
    assert mistake.message.startswith("Cannot write")
    assert "paths.output=DIR" in mistake.message


def test_the_error_of_a_loading_process_is_one_of_reading() -> None:
    """It comes as text, without the calls that led to it."""
    text = "Caught PermissionError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\nPermissionError: "
    mistake = explain(PermissionError(f"{text}[Errno 13] Permission denied: '/x/image.png'"))
    assert mistake is not None
    assert mistake.message.startswith("Cannot read a file ([Errno 13] Permission denied: '/x/image.png')")


def test_a_folder_of_runs_that_may_not_be_read_is_not_one_without_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="cannot be read"):
        _results_files(str(tmp_path), "runs")


def _without_privilege() -> list[str] | None:
    """What is put before a command so that permissions count for it; None where that cannot be had."""
    if os.name != "posix":
        return None
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if shutil.which("setpriv") else None


COMMANDS = {
    "evaluate": (["evaluate", "checkpoint=run/checkpoints/last.ckpt"], "run/checkpoints/last.ckpt"),
    "a folder on the way": (["evaluate", "checkpoint=run"], "run/checkpoints"),
    "resume from a file": (["train", "experiment=demo", "resume=run/checkpoints/last.ckpt"], "run/checkpoints/last.ckpt"),
    "resume": (["train", "resume=run"], "run/.hydra/overrides.yaml"),
    "compare": (["compare", "runs=run"], "run/results.json"),
    "compare a folder": (["compare", "runs=run"], "run"),
    "own YAML": (["train", "--config-dir", "mine", "experiment=mine"], "mine/experiment/mine.yaml"),
    "folder of own YAML": (["train", "--config-dir", "mine", "experiment=mine"], "mine"),
    "images": (["predict", "checkpoint=run/checkpoints/last.ckpt", "input=photos", "output=out"], "photos"),
    "data": (["check", "experiment=multi_source_gs", "paths.data=data"], "data"),
    "convert": (["convert", "source=run/checkpoints/last.ckpt", "output=x.ckpt"], "run/checkpoints/last.ckpt"),
}


QUICKLY = ("data", "compare", "a folder on the way")


@pytest.mark.slow
@pytest.mark.skipif(_without_privilege() is None, reason="permissions mean nothing here")
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in QUICKLY else pytest.mark.reliability) for kind in COMMANDS])
def test_commands_without_the_right_to_read(kind: str, tmp_path: Path) -> None:
    """As a user types them, with the bits of the file or folder taken away."""
    arguments, name = COMMANDS[kind]
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for folder in (".hydra", "../mine/experiment", "../photos", "../data/gtav/images"):
        (tmp_path / "run" / folder).resolve().mkdir(parents=True)
    torch.save({"state_dict": {}}, tmp_path / "run" / "checkpoints" / "last.ckpt")
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["experiment=demo"]))
    (tmp_path / "run" / "results.json").write_text(json.dumps({}))
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\n")
    (tmp_path / name).chmod(0)
    command = [*(_without_privilege() or []), sys.executable, "-m", f"pin_memory.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    (tmp_path / name).chmod(0o755)
    said = done.stderr + done.stdout
    assert done.returncode in (1, 2), said
    logging.getLogger(__name__).info(said)
    assert "annot read" in said or "cannot be read" in said, said
    assert "Traceback" not in said
    assert not any(word in said for word in WRITING), said
