"""What a check is asked for, and what it saw of a data set and of a split."""

from dataclasses import dataclass, field
from typing import Any

from pin_memory.domains.checks.findings import Finding
from pin_memory.domains.loading.data_module import DomainDataModule


@dataclass
class Request:
    """A data set to look at.

    Attributes:
        module: Which one, where, and with which options of its reader.
        names: What it is called in the configuration; several where it is listed several times.
        splits: What is wanted of it.
        needed: Whether it is an error when it is not there.
    """

    module: DomainDataModule
    names: list[str]
    splits: list[str]
    needed: bool


@dataclass
class SplitReport:
    """What was seen of a split; all plain values.

    Attributes:
        split: "train", "val" or "test".
        layout: The folder tree that it follows.
        encoding: How its labels are encoded.
        own_folder: Whether `images` and `labels` lie in a folder of the split; otherwise they are those of all splits.
        images: Number of image files.
        labels: Number of label files.
        pairs: Number of pairs that belong to the split and are not left out.
        published: Number of pairs as published; None where no count applies.
        sizes: Number of images of each size, "WIDTHxHEIGHT", the most frequent first.
        decoded: Number of pairs that were decoded.
        raw_values: For each raw id seen in them, its class (None: ignored) and its share of the pixels.
        class_shares: Share of each class of the labelled pixels.
        ignored_share: Share of all pixels that is ignored.
        counted: Number of labels that the shares are taken over.
    """

    split: str
    layout: str
    encoding: str
    own_folder: bool
    images: int
    labels: int
    pairs: int
    published: int | None
    sizes: dict[str, int] = field(default_factory=dict)
    decoded: int = 0
    raw_values: dict[int, dict[str, Any]] = field(default_factory=dict)
    class_shares: dict[str, float] = field(default_factory=dict)
    ignored_share: float = 0.0
    counted: int = 0


@dataclass
class DomainReport:
    """What was seen of a data set.

    Attributes:
        names: As in the request.
        title: The name of the data set.
        root: Where it was looked for.
        needed: As in the request.
        absent: There is nothing at all.
        stand_in: It is a drawn stand-in.
        splits: What was seen of each split that is there.
        findings: What is wrong or worth knowing.
    """

    names: list[str]
    title: str
    root: str
    needed: bool
    absent: bool
    stand_in: bool
    splits: list[SplitReport]
    findings: list[Finding]


@dataclass(frozen=True)
class Depth:
    """How closely to look.

    Attributes:
        deep: Decode all pairs, not a sample.
        sample: Number of pairs of each split that are decoded otherwise, evenly spaced.
        workers: Processes that decode; None for one per CPU.
        accept: Kinds of findings that are no errors.
    """

    deep: bool = False
    sample: int = 20
    workers: int | None = None
    accept: tuple[str, ...] = ()
