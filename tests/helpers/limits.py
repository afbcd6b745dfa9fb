"""What a test may take: seconds, and memory."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer."""

    def stop(*_: Any) -> None:
        pytest.fail(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(gibibytes: float) -> Iterator[None]:
    """Fail when the process grew by more, even for a moment. Measured where the kernel lets its peak be forgotten (Linux)."""
    if not (forget := Path("/proc/self/clear_refs")).exists():
        yield
        return
    forget.write_text("5")
    before = _peak()
    try:
        yield
    finally:
        grown = _peak() - before
        if grown > gibibytes:
            pytest.fail(f"took {grown:.2f} GiB")  # not an error that the test takes for the case's own


def _peak() -> float:
    """Resident memory at its highest since it was forgotten, in GiB; a fresh one is what is resident now."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20
