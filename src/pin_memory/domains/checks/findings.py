"""What a check finds and reports: kinds of findings, how serious each is, and what was seen of a split, a data set and all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import ConfigurationError

_SHOWN = 20  # files of a kind in the message; all are in `Finding.places`
_LEVELS = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of finding."""

    level: str  # one of `_LEVELS`
    one: str = ""  # the words for one file; empty where each finding has a sentence of its own
    many: str = ""  # the words for several


_DECODING: Mapping[str, Kind] = {
    "unreadable": Kind("error", "file cannot be read", "files cannot be read"),
    "empty": Kind("error", "file is empty", "files are empty"),
    "not_a_picture": Kind("error", "file is not a picture", "files are not pictures"),
    "truncated": Kind("error", "file is truncated", "files are truncated"),
    "too_large": Kind("error", "file has more pixels than can be decoded safely", "files have more pixels than can be decoded safely"),
    "undecodable": Kind("error", "file is damaged", "files are damaged"),
    "wrong_encoding": Kind("error", "label is not in the data set's encoding", "labels are not in the data set's encoding"),
}
"""Why a file cannot be decoded: of one file only the first of these that was seen is reported."""

KINDS: Mapping[str, Kind] = {
    "missing": Kind("error"),
    "unusable": Kind("error"),
    "unmatched_image": Kind("error", "image has no label", "images have no label"),
    "unmatched_label": Kind("error", "label has no image", "labels have no image"),
    "shared_image": Kind("error", "image is trained on as well", "images are trained on as well"),
    **_DECODING,
    "size_mismatch": Kind("error", "pair differs in size", "pairs differ in size"),
    "all_ignored": Kind("error", "label has no pixel of any class", "labels have no pixel of any class"),
    "single_class_label": Kind("error", "label has one class only", "labels have one class only"),
    "single_colour_image": Kind("error", "image has one colour only", "images have one colour only"),
    "published_single_colour": Kind(
        "note", "file is of one colour or class, as published", "files are of one colour or class, as published"
    ),
    "unlisted_value": Kind(
        "error", "label holds raw values that are none of the data set's", "labels hold raw values that are none of the data set's"
    ),
    "turned": Kind(
        "warning",
        "picture is turned upright by its EXIF orientation; what belongs to it has to be made for that",
        "pictures are turned upright by their EXIF orientation; what belongs to them has to be made for that",
    ),
    "missing_split": Kind("warning"),
    "unexpected_class": Kind("warning"),
    "absent_class": Kind("warning"),
    "small_images": Kind("warning"),
    "fewer": Kind("warning"),
    "note": Kind("note"),
}
"""What can be found, most serious first."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with a pair."""

    kind: str  # one of `KINDS`
    where: str  # the file or the name of the sample
    detail: str = ""  # what is wrong with it, in a few words


@dataclass
class Finding:
    """Something that is wrong or worth knowing."""

    kind: str  # one of `KINDS`
    level: str  # "error", "warning" or "note"
    message: str  # a sentence with the first files; several files are a line each
    splits: list[str] = field(default_factory=list)  # where it was seen
    places: list[str] = field(default_factory=list)  # all files or names that it is about
    details: list[str] = field(default_factory=list)  # what is wrong with each of them, in a few words; may be empty


class Findings:
    """Collects what is found in the splits of one data set; kinds in `accept` are no errors.

    With `lenient_pairs`, neither are files without partner, since the data set is published so.
    """

    def __init__(self, accept: Sequence[str] = (), *, lenient_pairs: bool = False) -> None:
        if unknown := [kind for kind in accept if kind not in KINDS]:
            raise ConfigurationError(f"accept={unknown}: there is no such kind of finding; choose among {', '.join(KINDS)}.")
        self._lenient = {*accept, *(("unmatched_image", "unmatched_label") if lenient_pairs else ())}
        self._found: dict[tuple[str, str], Finding] = {}  # by kind and sentence; files have none
        self._seen: set[tuple[str, str]] = set()  # kind and file

    def add(self, kind: str, split: str, sentence: str, serious: bool = True) -> Finding:
        """Add a sentence; the same one of several splits becomes one finding. An error that is not `serious` is a warning."""
        level = KINDS[kind].level
        level = "warning" if level == "error" and (kind in self._lenient or not serious) else level
        found = self._found.setdefault((kind, sentence), Finding(kind, level, sentence))
        if split not in found.splits:
            found.splits.append(split)
        return found

    def add_faults(self, split: str, faults: Iterable[Fault]) -> None:
        """Add faults of files; that a file cannot be decoded is reported once."""
        for fault in faults:
            seen = ("undecodable" if fault.kind in _DECODING else fault.kind, fault.where)
            if seen not in self._seen:
                self._seen.add(seen)
                found = self.add(fault.kind, split, "")
                found.places.append(fault.where)
                found.details.append(fault.detail)

    def add_unpaired(self, domain: Domain) -> None:
        """Add files without partner, and what the reader notes on the rest."""
        found = domain.found
        images = [
            Fault("unmatched_image", str(found.images[key]), found.nearly_paired(key).strip(" .") if place < _SHOWN else "")
            for place, key in enumerate(found.unpaired_images)
        ]
        labels = [Fault("unmatched_label", str(found.labels[key])) for key in found.unpaired_labels]
        self.add_faults(domain.split, images + labels)
        known = (f"{len(images)} images have no", f"{len(labels)} labels have no")
        for note in domain.notes:
            if not note.startswith(known):
                self.add("note", domain.split, note)

    def merged(self) -> list[Finding]:
        """The findings, most serious first; several files are listed line by line."""
        for found in self._found.values():
            if found.kind == "fewer":
                found.message = f"fewer images than published: {', '.join(found.places)}"
                found.places, found.details = [], []
            elif found.places and not found.message:
                found.message = _sentence(found)
        order = list(KINDS)
        return sorted(self._found.values(), key=lambda found: (_LEVELS.index(found.level), order.index(found.kind)))


def _sentence(found: Finding) -> str:
    """One file in a line, or several with the first of them below."""
    lines = [f"{place} ({detail})" if detail else place for place, detail in zip(found.places, found.details, strict=True)]
    if len(lines) == 1:
        return f"1 {KINDS[found.kind].one}: {lines[0]}"
    more = [f"and {len(lines) - _SHOWN:,} more, which format=json names"] if len(lines) > _SHOWN else []
    return "\n".join([f"{len(lines):,} {KINDS[found.kind].many}:", *lines[:_SHOWN], *more])


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
