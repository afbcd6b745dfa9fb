"""The pixel counts behind the scores of a run, kept as `confusions.npz`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.utils.errors import DataError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.safe_load import load_arrays

CONFUSIONS = "confusions.npz"
"""An int64 array `(K, K)` per target, rows are the ground truth; in the run folder."""


def write_confusions(path: Path, confusions: Mapping[str, Any]) -> None:
    """Write the pixel counts behind the scores, one int64 array `(K, K)` per target with the ground truth in rows."""
    arrays: dict[str, Any] = {name: np.asarray(counts, np.int64) for name, counts in confusions.items()}
    with report_write_errors(path), atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_confusions(run: str | Path) -> dict[str, np.ndarray]:
    """The confusion matrices behind the scores of a run.

    Args:
        run: The run folder.

    Returns:
        Pixels `(K, K)` int64 by target, rows are the ground truth; empty if the run kept none.

    Raises:
        DataError: The file is damaged.
    """
    path = Path(run) / CONFUSIONS
    if not path.is_file():
        return {}
    try:
        confusions = load_arrays(path)
    except DataError as error:
        raise DataError(f"{error} Expected a confusion matrix for each target. Evaluate again.") from error
    for name, counts in confusions.items():
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind != "i":
            raise DataError(f"{path}: expected a confusion matrix (K, K) of counts for each target; {name} is none. Evaluate again.")
    return confusions
