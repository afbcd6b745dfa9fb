"""Work on the samples of a data set in several processes, with a progress bar."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import cv2
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.domains.readers.base import Domain

T = TypeVar("T")


def in_parallel(
    function: Callable[[Domain, int], T], domain: Domain, indices: Sequence[int], workers: int | None, title: str
) -> Iterator[T]:
    """Apply a function, importable by name, to samples of a domain, and yield the results in order, with a progress bar.

    `workers` are processes besides this one; None for one per CPU, 0 for none.
    """
    cpus = usable_cpus()
    # A process for a handful of files costs more than it saves.
    count = min(cpus if workers is None else workers, cpus, len(indices) // 4)
    work = _Work(function, domain, indices)
    loader: DataLoader[Any] = DataLoader(work, batch_size=None, num_workers=count, collate_fn=_as_is, worker_init_fn=start_worker)
    yield from tqdm(loader, desc=title, total=len(indices), disable=None, leave=False, dynamic_ncols=True)  # None: on a terminal only


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Work(Dataset[T], Generic[T]):
    """The calls as a data set, so that PyTorch's loader shares them out."""

    def __init__(self, function: Callable[[Domain, int], T], domain: Domain, indices: Sequence[int]) -> None:
        self.function, self.domain, self.indices = function, domain, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> T:
        return self.function(self.domain, self.indices[position])


def _as_is(item: T) -> T:
    return item


def start_worker(_: int) -> None:
    """Limit OpenCV to one thread in a loading process, as several would only compete, and let Pillow keep a block of memory.

    Otherwise Pillow gives the block back after each picture, and takes a third longer.
    """
    cv2.setNumThreads(0)
    Image.core.set_blocks_max(1)
