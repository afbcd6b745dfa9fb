"""Full disks, read-only folders, killed loading processes and memory limits: message, exit code, and the last checkpoint whole.

    python -m pytest tests/reliability/test_storage.py -m reliability

The file systems are mounted in a mount namespace of the command's own, which needs root; nothing of it is left afterwards.
"""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pin_memory.runs import checkpoints
from tests.helpers.tiny_run import TINY

pytestmark = pytest.mark.reliability

LONG = [setting for setting in TINY if not setting.startswith(("data.stand_in", "trainer.max_steps"))]
LONG += ["experiment=demo", "data.stand_in=null", "trainer.max_steps=400", "logger=csv", "floors=false", "method=erm", "hydra.run.dir=run"]
LONG += ["loading.max_val_images=2", "test=false"]


def _can_mount() -> bool:
    """Whether file systems can be mounted here, in a namespace."""
    if shutil.which("unshare") is None:
        return False
    script = 'd=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs "$d" && umount "$d" && rmdir "$d"'
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not _can_mount(), reason="mounting a tmpfs in a namespace needs root and `unshare`")


@pytest.fixture
def command(trained_run: Path) -> list[str]:
    """A training that writes a checkpoint every two iterations."""
    return [sys.executable, "-m", "pin_memory.train", *LONG, f"paths.data={trained_run.parents[1] / 'stand_ins'}"]


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}


def in_namespace(
    folder: Path, before: str, meanwhile: str, command: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder/disk`, on file systems of its own; what it leaves there comes out as `folder/left`.

    Args:
        folder: For all of it.
        before: Shell commands that mount `$DISK`.
        meanwhile: Shell commands that run with the command, once it has written its first checkpoint.
        command: What is run.
        environment: Its environment.
    """
    wait = "while [ ! -f run/checkpoints/last.ckpt ]; do sleep 0.05; done"
    script = f"""
        mkdir -p "$DISK" && {before} && cd "$DISK" || exit 99
        ( {wait}; {meanwhile} ) & beside=$!
        "$@"; code=$?
        kill $beside 2>/dev/null; wait $beside 2>/dev/null
        mkdir -p "$LEFT" && cp -r "$DISK"/. "$LEFT"/
        exit $code
    """
    places = {"DISK": str(folder / "disk"), "LEFT": str(folder / "left")}
    arguments = ["unshare", "-m", "sh", "-c", script, "sh", *command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600, env=environment | places)


def check_checkpoint(path: Path) -> None:
    """Whole, with all of its tensors, and of this library."""
    checkpoint = checkpoints.read_checkpoint(path)
    assert checkpoint.step >= 1
    assert all(tensor.isfinite().all() for tensor in checkpoint.state.values() if tensor.is_floating_point())


@needs_mounts
def test_the_disk_fills_up(command: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    done = in_namespace(
        tmp_path, 'mount -t tmpfs -o size=900m tmpfs "$DISK"', "cat /dev/zero > filler 2>/dev/null", command, environment
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr or "disk is full" in done.stderr
    assert "Free some space" in done.stderr
    check_checkpoint(tmp_path / "left" / "run" / "checkpoints" / "last.ckpt")
    assert not [path for path in (tmp_path / "left" / "run" / "checkpoints").iterdir() if path.name.startswith(".")]


@needs_mounts
def test_the_disk_is_full_from_the_beginning(command: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    full = 'mount -t tmpfs -o size=1m tmpfs "$DISK" && { cat /dev/zero > "$DISK/filler" 2>/dev/null || true; }'
    done = in_namespace(tmp_path, full, "true", command, environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "left").rglob("*.ckpt"))


@needs_mounts
def test_the_run_folder_becomes_read_only(command: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    """As when a file server goes wrong; files that are open stay so."""
    locked = 'mount --bind "$DISK" "$DISK" && mount -o remount,ro,bind "$DISK"'
    done = in_namespace(tmp_path, 'mount -t tmpfs tmpfs "$DISK"', locked, [*_at_once(command)], environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "read-only" in done.stderr.lower()
    check_checkpoint(tmp_path / "left" / "run" / "checkpoints" / "last.ckpt")


@needs_mounts
def test_a_read_only_place_for_runs(command: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    read_only = 'mount -t tmpfs tmpfs "$DISK" && mount -o remount,ro "$DISK"'
    done = in_namespace(tmp_path, read_only, "true", command, environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "read-only" in done.stderr
    assert "hydra.run.dir" in done.stderr or "choose another folder" in done.stderr


def _at_once(command: list[str]) -> list[str]:
    """With the place named by its path: a process stays in the folder that it was started in, whatever is mounted over it."""
    return ["sh", "-c", 'exec "$@" hydra.run.dir="$DISK/run"', "sh", *(part for part in command if part != "hydra.run.dir=run")]


@pytest.fixture
def running(command: list[str], environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the training in `tmp_path` and wait for its first checkpoint."""
    started: list[subprocess.Popen[str]] = []

    def start(*overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *overrides], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        deadline = time.monotonic() + 300
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_loading_process_is_killed(running: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """As the kernel does when memory runs out."""
    process = running("loading.num_workers=1")
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    loaders = [child for child in _children(process.pid) if b"pin_memory.train" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert loaders
    os.kill(loaders[-1], signal.SIGKILL)
    _, reported = process.communicate(timeout=300)
    assert process.returncode == 3, reported
    assert "Traceback" not in reported
    for part in ("A loading process ended without a message", "loading.num_workers", "resume=RUN"):
        assert part in reported
    # By chance it is noticed while the next batch is waited for, or in the midst of an iteration.
    assert "While loading" in reported or "what was being loaded comes after gtav: " in reported
    check_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_a_memory_limit(command: list[str], environment: dict[str, str], trained_run: Path, tmp_path: Path) -> None:
    """A run that is resumed with larger crops than the machine has memory for; its checkpoint stays as it was."""
    shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    kept = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = hashlib.sha256(kept.read_bytes()).hexdigest()
    limit = 8 * 2**30
    asked = [part for part in command if not part.startswith(("hydra.run.dir", "augmentation", "loading.batch_size", "method"))]
    done = subprocess.run(
        [*asked, f"resume={kept}", "hydra.run.dir=again", "augmentation.crop_size=3000", "loading.batch_size=8"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    for part in ("memory of this machine does not suffice", "loading.batch_size", "augmentation.crop_size"):
        assert part in done.stderr
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == before
    check_checkpoint(kept)
    assert torch.load(kept, weights_only=True)["global_step"] == checkpoints.read_checkpoint(kept).step
