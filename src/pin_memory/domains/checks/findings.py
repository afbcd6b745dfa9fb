"""What a check finds: one finding for what many files or several splits share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pin_memory.domains.checks.files import Fault
from pin_memory.domains.checks.kinds import DECODING, KINDS
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import ConfigurationError, first_names

_SHOWN = 20  # files of a kind in the message; all are in `Finding.places`


@dataclass
class Finding:
    """Something that is wrong or worth knowing.

    Attributes:
        kind: One of `KINDS`.
        level: "error", "warning" or "note".
        message: In a sentence, with the first files; several files are a line each.
        splits: Where it was seen.
        places: All files or names that it is about.
        details: What is wrong with each of them, in a few words; may be empty.
    """

    kind: str
    level: str
    message: str
    splits: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


class Findings:
    """Collects what is found in the splits of one data set."""

    def __init__(self, accept: Sequence[str] = (), *, lenient_pairs: bool = False) -> None:
        """Start with nothing.

        Args:
            accept: Kinds that are no errors.
            lenient_pairs: Files without partner are no errors, as the data set is published so.

        Raises:
            ConfigurationError: There is no such kind.
        """
        if unknown := [kind for kind in accept if kind not in KINDS]:
            raise ConfigurationError(f"accept={unknown}: there is no such kind of finding; choose among {', '.join(KINDS)}.")
        self._lenient = {*accept, *(("unmatched_image", "unmatched_label") if lenient_pairs else ())}
        self._sentences: dict[tuple[str, str], list[str]] = {}
        self._files: dict[str, dict[str, tuple[Fault, str]]] = {}
        self._counts: dict[str, str] = {}

    def add(self, kind: str, split: str, sentence: str) -> None:
        """Note a sentence; the same one of several splits becomes one finding."""
        splits = self._sentences.setdefault((kind, sentence), [])
        if split not in splits:
            splits.append(split)

    def faults(self, split: str, faults: Iterable[Fault]) -> None:
        """Note faults of files; what was found of a file before is not said again."""
        for fault in faults:
            if fault.kind in DECODING and any(fault.where in self._files.get(kind, {}) for kind in DECODING):
                continue
            self._files.setdefault(fault.kind, {}).setdefault(fault.where, (fault, split))

    def fewer(self, split: str, present: int, published: int) -> None:
        """Note that images of a split are not there, as after a part of the downloads."""
        self._counts[split] = f"{split} {present:,} of {published:,}"

    def missing(self, split: str, report: str) -> None:
        """Note a split that is not there."""
        self.add("missing", split, report)

    def soften_missing(self) -> None:
        """Take missing splits as a warning: others are there, and nobody asked for these."""
        for kind, report in [key for key in self._sentences if key[0] == "missing"]:
            for split in self._sentences.pop((kind, report)):
                self.add("missing_split", split, report.partition("\n")[0].rstrip("."))

    def unmatched(self, domain: Domain) -> None:
        """Note files without partner, and what the reader says about the rest."""
        found = domain.found
        images = [Fault("unmatched_image", str(found.images[key])) for key in found.unpaired_images]
        labels = [Fault("unmatched_label", str(found.labels[key])) for key in found.unpaired_labels]
        self.faults(domain.split, images + labels)
        said = tuple(f"{len(files)} {kind} have no" for files, kind in ((images, "images"), (labels, "labels")))
        for note in domain.notes:
            if not note.startswith(said):
                self.add("note", domain.split, note)

    def unlisted_values(self, domain: Domain, paths: Sequence[Path], raw: np.ndarray) -> None:
        """Note raw values that the data set does not have.

        Args:
            domain: The split; readers that say which raw ids exist (`raw_ids`) are judged, others cannot be.
            paths: The label files.
            raw: Pixels of each raw id in each of them, (N, 256).
        """
        declared = domain.raw_ids
        if declared is None:
            return
        unlisted = [value for value in np.flatnonzero(raw.sum(axis=0)).tolist() if value not in declared]
        for path, pixels in zip(paths, raw, strict=True):
            if values := [f"{value} on {pixels[value] / pixels.sum():.2%} of the pixels" for value in unlisted if pixels[value]]:
                self.faults(domain.split, [Fault("unlisted_value", str(path), first_names(values))])

    def unexpected_classes(self, domain: Domain, shares: Mapping[str, float]) -> None:
        """Note classes that are said not to occur in the split that the data set is judged on."""
        if domain.folder_split != domain.test_split:
            return
        if names := [name for name, share in shares.items() if share > 0 and name not in domain.classes]:
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
    """What is said of one file in a line, or of several with the first of them below."""
    lines = [f"{place} ({detail})" if detail else place for place, detail in zip(places, details, strict=True)]
    if len(lines) == 1:
        return f"1 {KINDS[kind].one}: {lines[0]}"
    more = [f"and {len(lines) - _SHOWN:,} more, which format=json names"] if len(lines) > _SHOWN else []
    return "\n".join([f"{len(lines):,} {KINDS[kind].many}:", *lines[:_SHOWN], *more])
