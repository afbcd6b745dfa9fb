"""How long training waits for its images."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities import CombinedLoader


class Stopwatch:
    """Adds up the wall time of the blocks that it runs in.

    Attributes:
        seconds: Added up so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block, also where it ends with an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


class TimedLoader(CombinedLoader):
    """Several loaders read together, whose reader's waiting time is added up.

    Args:
        iterables: The loaders by name.
        mode: As of Lightning's `CombinedLoader`.
        waiting: Runs while the reader waits for the next batches.
    """

    def __init__(self, iterables: Any, mode: str, waiting: Stopwatch) -> None:
        super().__init__(iterables, mode)  # type: ignore[arg-type]  # Lightning names the modes one by one
        self.waiting = waiting

    def __iter__(self) -> "TimedLoader":
        """Start a pass; at the first one this starts the loading processes."""
        with self.waiting.running():
            super().__iter__()
        return self

    def __next__(self) -> Any:
        """The next batch of every loader."""
        with self.waiting.running():
            return super().__next__()
