"""The trace of the memory in a run folder, read without torch."""

from pathlib import Path

import numpy as np

from pin_memory.utils.errors import DataError
from pin_memory.utils.safe_load import load_arrays

FILE = "memory_trace.npz"
"""Name of the trace in a run folder: `step` (T,) int64, iterations made, and `items` (T, K, C) float32, the memory after them."""


def read_trace(run: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the trace of a run's memory.

    Args:
        run: The run folder.

    Returns:
        Iterations `(T,)` int64, rising, and the memory after each `(T, K, C)` float32; None if the run has no trace.

    Raises:
        DataError: The file is damaged.
    """
    path = Path(run) / FILE
    if not path.is_file():
        return None
    try:
        trace = load_arrays(path, "step", "items")
    except DataError as error:
        raise DataError(f"{error} Expected the arrays `step` and `items` of a memory trace. Delete it.") from error
    step, items = trace["step"], trace["items"]
    if step.ndim != 1 or items.ndim != 3 or len(step) != len(items) or step.dtype.kind not in "iu" or items.dtype.kind != "f":
        raise DataError(f"{path}: expected step (T,) and items (T, K, C), found {step.shape} and {items.shape}. Delete it.")
    return step, items
