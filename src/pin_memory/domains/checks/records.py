"""What a check is asked for, and what it saw of a split, of a data set and of all."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from pin_memory.domains.checks.findings import Finding
from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.utils.validation import validated


@dataclass
class Request:
    """A data set to look at."""

    module: DomainDataModule
    names: list[str]  # in the configuration; several where it is listed several times
    splits: list[str]  # that are needed
    needed: bool  # whether it is an error when it is not there


@validated("")
@dataclass(frozen=True)
class Depth:
    """How closely to look."""

    deep: bool = False  # decode all pairs, not a sample
    sample: Annotated[int, Field(ge=1)] = 20  # pairs of each split that are decoded otherwise, evenly spaced
    workers: Annotated[int, Field(ge=0)] | None = None  # processes that decode; None for one per CPU
    accept: tuple[str, ...] = ()  # kinds of findings that are no errors


@dataclass
class SplitReport:
    """What was seen of a split; all plain values."""

    split: str  # "train", "val" or "test"
    layout: str  # name of the folder tree
    encoding: str  # of the labels
    own_folder: bool  # whether `images` and `labels` lie in a folder of the split; otherwise they are those of all splits
    images: int  # files
    labels: int  # files
    pairs: int  # that belong to the split and are not left out
    published: int | None  # pairs as published; None where no count applies
    sizes: dict[str, int] = field(default_factory=dict)  # images of each size, "WIDTHxHEIGHT", the most frequent first
    decoded: int = 0  # pairs that were decoded
    raw_values: dict[int, dict[str, Any]] = field(default_factory=dict)  # class (None: ignored) and share of the pixels, by raw id
    class_shares: dict[str, float] = field(default_factory=dict)  # of the labelled pixels
    ignored_share: float = 0.0  # of all pixels
    counted: int = 0  # labels that the shares are taken over


@dataclass
class DomainReport:
    """What was seen of a data set."""

    names: list[str]  # as in the request
    title: str
    root: str  # where it was looked for
    needed: bool  # as in the request
    absent: bool  # there is nothing at all
    stand_in: bool  # it is drawn
    splits: list[SplitReport]  # those that are there
    findings: list[Finding]


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    data: str  # the folder of data sets that was looked at
    deep: bool  # whether everything was decoded
    domains: list[DomainReport]

    @property
    def shown(self) -> list[DomainReport]:
        """The data sets without those that are absent and not needed."""
        return [domain for domain in self.domains if domain.needed or not domain.absent]

    @property
    def missing(self) -> list[str]:
        """The splits that are not there of the data sets that are shown, as "NAME SPLIT"."""
        return [
            f"{domain.names[0]} {split}"
            for domain in self.shown
            for finding in domain.findings
            if finding.kind in ("missing", "missing_split")
            for split in finding.splits
        ]

    @property
    def failed(self) -> bool:
        """Whether something that is needed is missing or wrong, or there is nothing at all."""
        return self.count("error") > 0 or all(domain.absent for domain in self.domains)

    def count(self, level: str) -> int:
        """The number of findings of a level; a data set that is absent and not needed counts none."""
        return sum(finding.level == level for domain in self.shown for finding in domain.findings)
