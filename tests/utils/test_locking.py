"""One process at a time in a folder."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pin_memory.utils import locking
from pin_memory.utils.errors import OutputError
from pin_memory.utils.locking import exclusive, is_in_use

ORPHAN = """
import os, sys, time
from pathlib import Path
from pin_memory.utils.locking import exclusive
with exclusive(Path(sys.argv[1])):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    os._exit(0)
"""


def test_looking_does_not_disturb(tmp_path: Path) -> None:
    """Processes that look whether a folder is in use see no lock in each other, and keep nobody from working there."""
    with exclusive(tmp_path):
        pass
    look = (
        "import sys; from pathlib import Path; from pin_memory.utils.locking import is_in_use\n"
        "print(flush=True); input()\n"
        "print(sum(is_in_use(Path(sys.argv[1])) for _ in range(200)))"
    )
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    watchers = [subprocess.Popen([sys.executable, "-c", look, str(tmp_path)], **pipes) for _ in range(2)]
    for watcher in watchers:
        watcher.stdout.readline()
    for watcher in watchers:
        watcher.stdin.write("\n")
        watcher.stdin.flush()
    assert [watcher.communicate()[0].split() for watcher in watchers] == [["0"], ["0"]]
    held = (tmp_path / ".lock").open()
    fcntl.flock(held, fcntl.LOCK_SH)  # as one who looks, for longer than any does
    threading.Timer(0.2, held.close).start()
    with exclusive(tmp_path):
        assert held.closed


def test_the_lock_of_this_process_is_no_obstacle(tmp_path: Path) -> None:
    """Of a sweep's job, say, whose training locks the same folder."""
    with exclusive(tmp_path / "run"), exclusive(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").is_file()
        assert not is_in_use(tmp_path / "run")


def test_a_worker_that_outlives_its_parent_keeps_nobody_out_for_long(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path)], check=True, timeout=60)
    with exclusive(tmp_path):
        pass


def test_the_owner_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(OutputError, match=r"another process is at work on this run \(process 7\)"),
            exclusive(tmp_path, lambda: "process 7"),
        ):
            pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Any:
        def lock(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

        return lock

    monkeypatch.setattr(locking, "FileLock", refuse(errno.ENOLCK))
    with exclusive(tmp_path):
        pass
    monkeypatch.setattr(locking, "FileLock", refuse(errno.EACCES))
    with pytest.raises(PermissionError), exclusive(tmp_path):
        pass
