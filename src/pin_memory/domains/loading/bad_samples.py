"""Training images or labels that cannot be read: named and counted, and either the end of the run or left out by a rule."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset, default_collate

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Draw
from pin_memory.utils.distributed import gather_objects
from pin_memory.utils.errors import DataError

_SKIPPED = "skipped"
_TRIES = 32  # at a tenth of bad samples, so many in a row come once in 1e32 draws
_STREAM = 1  # of the draw's seed; the augmentation has the seed itself

log = logging.getLogger(__name__)


class SkippingBad(Dataset[dict[str, Any]]):
    """A domain whose unreadable samples are replaced by others of it.

    Which ones follows from the seed of the draw alone: neither the number of workers nor a resumption changes the batches, and every
    readable sample is as likely a substitute as any other. The batch keeps its size, and the name in it is that of the substitute.
    """

    def __init__(self, domain: Domain) -> None:
        """Wrap a domain."""
        self.domain = domain

    def __len__(self) -> int:
        """The number of samples, the bad ones among them."""
        return len(self.domain)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Read a draw's sample, or the first readable one of its substitutes, with name and fault of those skipped under "skipped"."""
        skipped: list[tuple[str, str]] = []
        for index in substitutes(draw, len(self.domain)):
            try:
                item = self.domain.read(replace(draw, index=index))
            except DataError as error:
                skipped.append((self.domain.samples[index].name, str(error)))
            else:
                return {**item, _SKIPPED: skipped}
        raise DataError(
            f"{self.domain.title}: {len(skipped)} samples in a row could not be read, of {len(self.domain)} in all."
            f" The last: {skipped[-1][1]}"
        )


def substitutes(draw: Draw, samples: int) -> Iterator[int]:
    """The index of a draw, then those that take its place one after the other, each sample at most once."""
    yield draw.index
    order = np.random.default_rng([draw.seed, _STREAM]).permutation(samples)
    yield from (int(index) for index in order[:_TRIES] if index != draw.index)


def collate_skipping(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A training batch that also carries what was skipped for it."""
    skipped = [fault for item in items for fault in item.pop(_SKIPPED)]
    return {**default_collate(items), _SKIPPED: skipped}


class BadSamples:
    """The bad training samples of a domain that were met so far.

    Args:
        limit: Share of the domain's samples that may be bad.

    Attributes:
        names: Of the bad samples, in the order they were met.
        draws: How many draws were given another sample.
    """

    def __init__(self, limit: float = 0.1) -> None:
        self.limit = limit
        self.names: list[str] = []
        self.draws = 0

    def without_skipped(self, batch: dict[str, Any], domain: str, samples: int, trains: bool = True) -> dict[str, Any]:
        """Count what was skipped for a batch of `collate_skipping`, and return the batch without it; draws count where it is trained on."""
        for name, fault in batch.pop(_SKIPPED):
            self.draws += trains
            self.add(name, fault, domain, samples)
        return batch

    def add(self, name: str, fault: str, domain: str, samples: int) -> None:
        """Record a bad sample, with a warning for each new one; too many of them end the run."""
        if name in self.names:
            return
        self.names.append(name)
        fault = " ".join(line.strip() for line in fault.splitlines())  # one line for each
        log.warning("%s: %s is left out of training, others take its place (bad sample %d of %d). %s",
                    domain, name, len(self.names), samples, fault)  # fmt: skip
        if len(self.names) > self.limit * samples:
            raise DataError(
                f"{domain}: {len(self.names)} of {samples} training samples cannot be read, more than loading.max_bad_share={self.limit:g}"
                f" allows. The last: {fault} Fix the data set (`pin-memory check deep=true` lists all), or raise the share."
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain containers; empty without a bad sample."""
        return {"names": list(self.names), "draws": self.draws} if self.names else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the count of the run that is resumed."""
        self.names, self.draws = list(state.get("names", [])), int(state.get("draws", 0))


def over_processes(own: Mapping[str, BadSamples]) -> dict[str, dict[str, Any]]:
    """Sorted names under "samples" and the number of "draws" by source, over all processes; without sources that have none."""
    parts = gather_objects({source: bad.state_dict() for source, bad in own.items()})
    found: dict[str, dict[str, Any]] = {}
    for source in own:
        if states := [part[source] for part in parts if part[source]]:
            samples = sorted({sample for state in states for sample in state["names"]})
            found[source] = {"samples": samples, "draws": sum(state["draws"] for state in states)}
    return found
