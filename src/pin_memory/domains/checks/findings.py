"""What a check finds: kinds of findings and how serious each is, and one finding for what many files or several splits share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pin_memory.domains.checks.files import Fault
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import ConfigurationError, first_names

_SHOWN = 20  # files of a kind in the message; all are in `Finding.places`


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    level: str  # "error", "warning" or "note"
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
    "missing_split": Kind("warning"),
    "unexpected_class": Kind("warning"),
    "fewer": Kind("warning"),
    "note": Kind("note"),
}
"""What can be found, most serious first."""


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
        self._sentences: dict[tuple[str, str], list[str]] = {}
        self._files: dict[str, dict[str, tuple[Fault, str]]] = {}
        self._counts: dict[str, str] = {}

    def add(self, kind: str, split: str, sentence: str) -> None:
        """Add a sentence; the same one of several splits becomes one finding."""
        splits = self._sentences.setdefault((kind, sentence), [])
        if split not in splits:
            splits.append(split)

    def add_faults(self, split: str, faults: Iterable[Fault]) -> None:
        """Add faults of files; that a file cannot be decoded is reported once."""
        for fault in faults:
            if fault.kind in _DECODING and any(fault.where in self._files.get(kind, {}) for kind in _DECODING):
                continue
            self._files.setdefault(fault.kind, {}).setdefault(fault.where, (fault, split))

    def add_fewer(self, split: str, present: int, published: int) -> None:
        """Add that images of a split are not there, as after a part of the downloads."""
        self._counts[split] = f"{split} {present:,} of {published:,}"

    def soften_missing(self) -> None:
        """Make missing splits a warning: others are there, and nobody asked for these."""
        for kind, report in [key for key in self._sentences if key[0] == "missing"]:
            for split in self._sentences.pop((kind, report)):
                self.add("missing_split", split, report.partition("\n")[0].rstrip("."))

    def add_unpaired(self, domain: Domain) -> None:
        """Add files without partner, and what the reader notes on the rest."""
        found = domain.found
        images = [Fault("unmatched_image", str(found.images[key])) for key in found.unpaired_images]
        labels = [Fault("unmatched_label", str(found.labels[key])) for key in found.unpaired_labels]
        self.add_faults(domain.split, images + labels)
        known = tuple(f"{len(files)} {kind} have no" for files, kind in ((images, "images"), (labels, "labels")))
        for note in domain.notes:
            if not note.startswith(known):
                self.add("note", domain.split, note)

    def add_unlisted_values(self, domain: Domain, paths: Sequence[Path], raw: np.ndarray) -> None:
        """Add raw values that the data set does not have, from the pixels of each raw id in each of the label files, (N, 256)."""
        if domain.raw_ids is None:
            return
        unlisted = [value for value in np.flatnonzero(raw.sum(axis=0)).tolist() if value not in domain.raw_ids]
        for path, pixels in zip(paths, raw, strict=True):
            if values := [f"{value} on {pixels[value] / pixels.sum():.2%} of the pixels" for value in unlisted if pixels[value]]:
                self.add_faults(domain.split, [Fault("unlisted_value", str(path), first_names(values))])

    def add_unexpected_classes(self, domain: Domain, shares: Mapping[str, float]) -> None:
        """Add classes that should not occur in the split that the data set is evaluated on."""
        names = [name for name, share in shares.items() if share > 0 and name not in domain.classes]
        if names and domain.folder_split == domain.test_split:
            self.add("unexpected_class", domain.split, f"these classes should not occur in {domain.title}: {', '.join(names)}")

    def merged(self) -> list[Finding]:
        """The findings, most serious first."""
        found = [Finding(kind, self._level(kind), sentence, splits) for (kind, sentence), splits in self._sentences.items()]
        if self._counts:
            message = f"fewer images than published: {', '.join(self._counts.values())}"
            found.append(Finding("fewer", self._level("fewer"), message, list(self._counts)))
        for kind, files in self._files.items():
            details = [fault.detail for fault, _ in files.values()]
            splits = list(dict.fromkeys(split for _, split in files.values()))
            found.append(Finding(kind, self._level(kind), _sentence(kind, list(files), details), splits, list(files), details))
        order = {kind: place for place, kind in enumerate(KINDS)}
        return sorted(found, key=lambda finding: (("error", "warning", "note").index(finding.level), order[finding.kind]))

    def _level(self, kind: str) -> str:
        level = KINDS[kind].level
        return "warning" if level == "error" and kind in self._lenient else level


def _sentence(kind: str, places: Sequence[str], details: Sequence[str]) -> str:
    """One file in a line, or several with the first of them below."""
    lines = [f"{place} ({detail})" if detail else place for place, detail in zip(places, details, strict=True)]
    if len(lines) == 1:
        return f"1 {KINDS[kind].one}: {lines[0]}"
    more = [f"and {len(lines) - _SHOWN:,} more, which format=json names"] if len(lines) > _SHOWN else []
    return "\n".join([f"{len(lines):,} {KINDS[kind].many}:", *lines[:_SHOWN], *more])
