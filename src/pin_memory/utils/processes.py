"""Which of the processes of a run this one is; imports nothing heavy.

Before Lightning knows, whoever started the process has said it in the environment: torchrun by RANK, LOCAL_RANK and WORLD_SIZE, `srun` by
SLURM_PROCID and SLURM_NTASKS, and Lightning, where it starts the processes of further devices itself, by LOCAL_RANK and NODE_RANK.
"""

import os
import sys


def is_first() -> bool:
    """Whether this process is the one of its run that prints and writes."""
    lightning = sys.modules.get("lightning_utilities.core.rank_zero")  # never imported for the sake of a line on the screen
    known = getattr(getattr(lightning, "rank_zero_only", None), "rank", None)
    if known is None:
        known = _number("RANK")
    return known == 0 if known is not None else not any(_number(name) for name in ("LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def started_together() -> tuple[str, int]:
    """How many processes were started with the same command line, and the variable that says so; ("", 1) where none does."""
    found = [(name, _number(name) or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS")]
    return max(((name, number) for name, number in found if number > 1), key=lambda pair: pair[1], default=("", 1))


def _number(name: str) -> int | None:
    """A variable of the environment as a number; None where it is missing or no number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
