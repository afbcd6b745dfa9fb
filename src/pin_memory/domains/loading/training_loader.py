"""The loader of a source domain in training: counts bad samples, and says what was being loaded when loading fails."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pin_memory.domains.loading.bad_samples import BadSamples, SkippingBad, collate_skipping
from pin_memory.domains.loading.samplers import DrawLoader, DrawSampler
from pin_memory.domains.readers.base import Domain


class TrainingLoader(DrawLoader):
    """Batches of a source domain."""

    def __init__(self, dataset: Domain, *, domain: str, bad: BadSamples | None = None, **options: Any) -> None:
        """Make a loader.

        Args:
            dataset: The domain.
            domain: Its name in the run, for messages.
            bad: Counts samples that cannot be read and are left out; None to raise at the first one.
            options: As of `DrawLoader`.
        """
        if bad is not None:
            options["collate_fn"] = collate_skipping
        super().__init__(dataset if bad is None else SkippingBad(dataset), **options)
        self.domain, self.bad = domain, bad
        self._samples = dataset.samples

    def __iter__(self) -> Any:
        """Iterate over the batches."""
        return self._told(iter(super().__iter__()))  # at once, not at the first batch, so that the workers of all domains start together

    def _told(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Pass the batches on; a failure gets a note with the domain and the samples that were due."""
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, MemoryError) as error:
                error.add_note(f"While loading {self.domain}, one of the samples {', '.join(self.due())}")
                raise
            yield batch if self.bad is None else self.bad.take(batch, self.domain, len(self._samples))

    def due(self) -> list[str]:
        """The names of the samples that are being loaded: of the batch after the last delivered one, and as far as processes read ahead."""
        sampler, state = self.sampler, self.state_dict()
        if not isinstance(sampler, DrawSampler):
            return []
        done = state["batches"] if sampler.epoch == state["epoch"] else 0
        size = self.batch_size or 1
        start = sampler.epoch * sampler.draws_per_epoch + done * size * sampler.num_replicas
        count = size * max(1, self.num_workers * (self.prefetch_factor or 1))
        draws = islice(sampler._sequence(start), sampler.rank, count * sampler.num_replicas, sampler.num_replicas)
        return list(dict.fromkeys(self._samples[draw.index].name for draw in draws))
