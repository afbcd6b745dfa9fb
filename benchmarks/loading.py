"""How many training samples a second the loader delivers, by the number of its loading processes; part of `benchmarks.data_pipeline`."""

import resource
import time
from itertools import islice
from pathlib import Path
from typing import Any

from pin_memory.domains import GTAVDataModule, Loading, TrainTransform

_BATCH = 4


def measure(root: Path, workers: int, draws: int, crop: int) -> dict[str, Any]:
    """Read batches as fast as they come, after a first batch for which the loading processes start.

    Args:
        root: The folder of drawn files in GTAV's format.
        workers: Loading processes that are asked for; the library starts no more than there are CPUs.
        draws: Samples to read.
        crop: Side of the square crop.

    Returns:
        Samples per second by the clock, and per second of processor time of this and the loading processes together.
    """
    settings = Loading(batch_size=_BATCH, num_workers=workers)
    loader = GTAVDataModule(root, TrainTransform(crop), settings).train_dataloader()
    used, before, batches = settings.workers, _processor_seconds(), iter(loader)
    next(batches)
    start = time.perf_counter()
    delivered = sum(len(batch["image"]) for batch in islice(batches, draws // _BATCH))
    seconds = time.perf_counter() - start
    batches.close()  # ends the loading processes, whose time is known only then
    spent = _processor_seconds() - before
    return {
        "asked": workers,
        "used": used,
        "samples_per_second": delivered / seconds,
        "samples_per_processor_second": (delivered + _BATCH) / spent,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a Markdown table, under a heading of their own."""
    first = rows[0]["samples_per_second"]
    lines = [
        "",
        "Through the training loader (GTAV's format, batches of 4), which never starts more loading processes than there are CPUs. Samples"
        " per second of processor time show what is lost between the processes, whatever else the machine does.",
        "",
        "| loading processes asked for | used | samples/s | of the first row | samples per second of processor time |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['asked']} | {row['used']} | {row['samples_per_second']:.1f} | {row['samples_per_second'] / first:.2f}"
            f" | {row['samples_per_processor_second']:.1f} |"
        )
    return lines


def _processor_seconds() -> float:
    """Of this process and of those it has started that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
