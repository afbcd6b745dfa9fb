"""A run folder that another process holds."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLDER = """
import sys
from pathlib import Path
from pin_memory.utils.locking import exclusive

with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@contextmanager
def locked_by_another_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in a process of its own for the block."""
    command = [sys.executable, "-c", _HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("\n")
