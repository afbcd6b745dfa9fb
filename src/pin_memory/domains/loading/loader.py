"""Endless training batches of the sources, read by loading processes."""

from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate

from pin_memory.domains.loading.bad_samples import BadSamples, SkippingBad, collate_skipping
from pin_memory.domains.loading.parallel import start_worker
from pin_memory.domains.loading.samplers import DrawSampler
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import DataError

ENDLESS = 10**12
"""Length of a training loader in batches. A run ends at its `max_steps`; without a length, Lightning would fetch a batch ahead."""
_PREFETCH = 2  # batches that each loading process reads ahead


class DrawLoader:
    """The training batches of one source, without an end.

    Args:
        domain: The source's training split.
        sampler: Its draws.
        name: Of the source in the run, for messages.
        workers: Loading processes; 0 to read in this process.
        bad: Counts samples that cannot be read and are left out; None to raise at the first one.
        trains: Whether the batches are trained on, so that draws of bad samples count.
    """

    def __init__(
        self, domain: Domain, sampler: DrawSampler, name: str, workers: int = 0, bad: BadSamples | None = None, trains: bool = True
    ) -> None:
        self.domain, self.sampler, self.name, self.workers = domain, sampler, name, workers
        self.bad, self.trains = bad, trains

    def __len__(self) -> int:
        """Return a number of batches beyond all runs."""
        return ENDLESS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the batches; the loading processes start when the first one is asked for."""
        yield from self.start()

    def start(self) -> Iterator[dict[str, Any]]:
        """Start the loading processes now, and return the batches."""
        options = loader_options(self.workers) | ({"prefetch_factor": _PREFETCH} if self.workers else {})
        if self.bad is not None:
            options["collate_fn"] = collate_skipping
        dataset: Any = self.domain if self.bad is None else SkippingBad(self.domain)
        sampler: Any = self.sampler
        return self._batches(iter(DataLoader(dataset, batch_size=sampler.batch_size, sampler=sampler, drop_last=True, **options)))

    def _batches(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass the batches on; a failure gets a note with the source and the samples that were being loaded."""
        for iteration in count(self.sampler.start):
            try:
                batch = next(batches)
            except (RuntimeError, OSError, MemoryError) as error:
                error.add_note(f"While loading {self.name}, one of the samples {', '.join(self._loading_in(iteration))}")
                raise
            yield batch if self.bad is None else self.bad.without_skipped(batch, self.name, len(self.domain), self.trains)

    def _loading_in(self, iteration: int) -> list[str]:
        """Return the names of the samples of an iteration and of those that the loading processes read ahead."""
        number = self.sampler.batch_size * max(1, self.workers * _PREFETCH)
        draws = islice(self.sampler.draws_from(iteration), number)
        return list(dict.fromkeys(self.domain.samples[draw.index].name for draw in draws))


class SourceLoader:
    """A batch of every source for each iteration, by the source's name, without an end.

    Args:
        loaders: The sources' own loaders by name.
    """

    def __init__(self, loaders: Mapping[str, DrawLoader]) -> None:
        self.loaders = dict(loaders)

    def __len__(self) -> int:
        """Return a number of batches beyond all runs."""
        return ENDLESS

    def __iter__(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Iterate over the batches.

        The loading processes start when the first batch is asked for, of all sources together, so that a method that reads the sources
        before its first iteration does not have them twice.
        """
        sources = {name: loader.start() for name, loader in self.loaders.items()}
        while True:
            yield {name: next(batches) for name, batches in sources.items()}


def loader_options(workers: int) -> dict[str, Any]:
    """Return the options that all loaders share."""
    return {"num_workers": workers, "pin_memory": torch.cuda.is_available(), "worker_init_fn": start_worker}


def collate(samples: list[dict[str, Any]]) -> Any:
    """Put evaluation images together, which have to be of one size."""
    sizes = {tuple(sample[part].shape[-2:]): sample["name"] for part in ("image", "label") for sample in samples}
    if any(len({tuple(sample[part].shape) for sample in samples}) > 1 for part in ("image", "label")):
        shown = ", ".join(f"{width}x{height} ({name})" for (height, width), name in list(sizes.items())[:3])
        raise DataError(f"Images of different sizes cannot be predicted together: {shown}. Set loading.evaluation_batch_size=1.")
    return default_collate(samples)
