"""Run a function in two processes that have met over gloo."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RANKS = 2


def on_two_ranks(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`function(rank, *arguments)` of each rank; it must be a function of a module, and return what torch can save."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_run, (function, arguments, folder), nprocs=RANKS)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


def _run(rank: int, function: Callable[..., Any], arguments: tuple[Any, ...], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    try:
        torch.save(function(rank, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
