"""Metrics as rows of one CSV file."""

import csv
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import atomic_write


class CSVLogger(Logger):
    """Metrics as rows of one CSV file: `step` (finished iterations), `epoch`, and a column for each metric that was ever logged.

    Unlike Lightning's logger of this name it writes exactly the file it is given, and continues a file that is there already, so
    that a resumed run keeps its history. Iterations that are made again after a kill then have a second row, which counts (`runs.folder`).
    """

    name = ""  # with these two empty, Lightning makes no sub-folder
    version = ""

    def __init__(self, path: str | Path, flush_every: int = 20) -> None:
        """Set up the logger; nothing is written before the first metrics.

        Args:
            path: The file to write.
            flush_every: How many rows are collected before they are written.

        Raises:
            OutputError: No file can be there.
        """
        super().__init__()
        self.path = Path(path)
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if there.is_dir() == (there == self.path):
            kind = "a" if there.is_dir() else "no"
            raise OutputError(f"The metrics cannot be written to {path}: {there} is {kind} folder. Name another file.")
        self.flush_every = flush_every
        self._rows: list[dict[str, float]] = []
        self._columns = self._read(0)[0]

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a run's settings are kept in its `.hydra` folder."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Collect a row; metrics of the step that was logged last join its row."""
        row = {name: int(value) if name == "epoch" else float(value) for name, value in metrics.items()}
        row["step"] = -1 if step is None else int(step)
        last = self._rows[-1] if self._rows else {}
        if last.get("step") == row["step"] and not (last.keys() & row.keys()) - {"step", "epoch"}:
            last.update(row)
            return
        if len(self._rows) >= self.flush_every:
            self.save()
        self._rows.append(row)

    @rank_zero_only
    def save(self) -> None:
        """Write the collected rows."""
        if not self._rows:
            return
        columns = list(dict.fromkeys([*self._columns, *("step", "epoch"), *(key for row in self._rows for key in row)]))
        if columns != self._columns:
            rows = self._read(None)[1]
            with atomic_write(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")  # a row cut short by a crash must not stop the next run
                writer.writeheader()
                writer.writerows(rows)
            self._columns = columns
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writerows(self._rows)
        self._rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    def _read(self, rows: int | None) -> tuple[list[str], list[dict[str, str]]]:
        """Columns and first rows (None: all) of the file that is there already."""
        if not self.path.is_file():
            return [], []
        with self.path.open(newline="", encoding="utf-8-sig", errors="replace") as file:  # a crash may have left anything
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(islice(reader, rows))
