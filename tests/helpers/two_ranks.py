"""Run functions in two processes that have met over gloo; they start once (importing torch takes longer than any test here)."""

import io
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RANKS = 2
_PATIENCE = 120  # seconds for a rank to wait for the other one


def on_two_ranks(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`function(rank, *arguments)` of each rank; it must be a function of a module, and return what torch can save.

    Raises:
        RuntimeError: It failed on a rank; holds that rank's traceback.
    """
    ranks = _ranks()
    for connection in ranks:
        connection.send((function, arguments))
    answers = [connection.recv() for connection in ranks]
    if failures := [text for text, _ in answers if text]:
        if len(failures) == RANKS:  # one may have waited in vain for the other, and the group is broken: the next call starts new ones
            _ranks.cache_clear()
        raise RuntimeError("\n".join(failures))
    return [torch.load(io.BytesIO(saved), weights_only=False) for _, saved in answers]


@lru_cache(maxsize=1)
def _ranks() -> list[Connection]:
    """Start the processes; they end with the tests."""
    context, folder, ours = mp.get_context("spawn"), tempfile.mkdtemp(), []
    for rank in range(RANKS):
        mine, theirs = context.Pipe()
        context.Process(target=_serve, args=(rank, theirs, folder), daemon=True).start()
        theirs.close()
        ours.append(mine)
    return ours


def _serve(rank: int, requests: Connection, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = (Path(folder) / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS, timeout=timedelta(seconds=_PATIENCE))
    while True:
        try:
            function, arguments = requests.recv()
        except EOFError:
            return
        try:
            torch.save(function(rank, *arguments), saved := io.BytesIO())
            requests.send(("", saved.getvalue()))
        except Exception:
            requests.send((f"rank {rank}: {traceback.format_exc()}", b""))
