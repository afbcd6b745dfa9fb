"""A user id without a passwd entry, without a home folder, or with one that cannot be written to, as in containers."""

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pin_memory.utils import user
from pin_memory.utils.files import cache_folder
from pin_memory.utils.user import settle_user
from tests.helpers.tiny_run import TINY

NAMES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PIN_MEMORY_CACHE")


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment without any of these variables, for a user that the system does not know; the folder for temporary files."""

    def unknown(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with mock.patch.dict(os.environ):
        for name in NAMES:
            os.environ.pop(name, None)
        yield tmp_path / "temporary"


@pytest.mark.parametrize("home", ["none", "missing", "a file", "read-only"])
def test_a_name_and_folders_are_found(nobody: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what libraries ask; `~` of an existing home folder stays what it is."""
    place = nobody.parent / "home"
    if home != "none":
        os.environ["HOME"] = str(place)
    if home == "a file":
        place.touch()
    if home == "read-only":  # which means nothing to root
        place.mkdir()
        allowed = os.access
        monkeypatch.setattr(user.os, "access", lambda path, mode: Path(path) != place and allowed(path, mode))
    settle_user()
    assert getpass.getuser() == f"uid{os.getuid()}"
    assert cache_folder("x").is_relative_to(nobody / f"pin_memory-{os.getuid()}")
    cache_folder("x").mkdir(parents=True)
    assert Path.home().is_dir()
    assert (Path.home() == place) == (home == "read-only")
    assert (nobody / f"pin_memory-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_the_cache_is_found_without_a_command(nobody: Path) -> None:
    """For programs that use the library."""
    assert cache_folder("x").is_absolute()
    assert cache_folder("x").is_relative_to(nobody)


def test_what_is_there_stays(nobody: Path) -> None:
    """A home folder that can be written to, or variables that are set."""
    os.environ |= {"HOME": str(nobody), "USER": "me"}
    before = dict(os.environ)
    settle_user()
    assert dict(os.environ) == before
    os.environ |= {"HOME": "/nowhere/at/all", "XDG_CACHE_HOME": str(nobody / "mine"), "LOGNAME": "other"}
    settle_user()
    assert os.environ["XDG_CACHE_HOME"] == str(nobody / "mine")
    assert getpass.getuser() == "other"


def test_a_folder_that_somebody_else_has_made_is_not_taken(nobody: Path) -> None:
    (nobody / "theirs").mkdir()
    (nobody / f"pin_memory-{os.getuid()}").symlink_to(nobody / "theirs")
    settle_user()
    assert not cache_folder("x").resolve().is_relative_to(nobody / "theirs")
    assert cache_folder("x").is_relative_to(nobody)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("setpriv") or os.geteuid() != 0, reason="needs root and setpriv to take another user id")
@pytest.mark.parametrize("home", [pytest.param(None, marks=pytest.mark.reliability), "/"])
def test_a_training_of_an_unknown_user(home: str | None, tmp_path: Path) -> None:
    """It may read everything, as the interpreter may lie in root's home."""
    number = 54_321
    os.chown(tmp_path, number, number)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    reading = "+dac_read_search"
    become = [f"--reuid={number}", f"--regid={number}", "--clear-groups", f"--inh-caps={reading}", f"--ambient-caps={reading}"]
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"TMPDIR": str(tmp_path)} | ({} if home is None else {"HOME": home})
    command = [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, "hydra.run.dir=run", "logger=csv", "floors=false"]
    done = subprocess.run(["setpriv", *become, *command], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results.json").is_file()
    assert any((tmp_path / f"pin_memory-{number}" / "cache" / "pin_memory").rglob("*")), "labels that were drawn"
    assert not (tmp_path / "~").exists()
