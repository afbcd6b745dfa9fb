"""Which of the processes of a run this one is, as whoever started it has said in the environment; imports nothing heavy.

torchrun sets RANK, LOCAL_RANK and WORLD_SIZE; `srun` sets SLURM_PROCID and SLURM_NTASKS; Lightning, where it starts the processes of
further devices by itself, LOCAL_RANK and NODE_RANK.
"""

import os
import sys


def is_first() -> bool:
    """Whether this process is the one that speaks for a run."""
    # What Lightning knows holds, once it is there; nobody imports it for the sake of a line on the screen.
    known = getattr(sys.modules.get("pin_memory.utils.distributed"), "is_first", None)
    if known is not None:
        return bool(known())
    if (rank := _number("RANK")) is not None:
        return rank == 0
    return not any(_number(name) for name in ("LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def started_together() -> tuple[str, int]:
    """How many processes were started with the same command line, and the variable that says so; ("", 1) where none does."""
    found = [(name, _number(name) or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS")]
    return max(((name, number) for name, number in found if number > 1), key=lambda pair: pair[1], default=("", 1))


def _number(name: str) -> int | None:
    """A variable of the environment as a number; None where it is missing or none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
