"""Findings on values: raw ids and colours of labels that are not listed, and listed classes that no label has."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pin_memory.domains.checks.files import Inspected
from pin_memory.domains.checks.findings import Fault, Findings, SplitReport
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.utils.errors import first_names
from pin_memory.utils.labels import IGNORE

_SHOWN = 8  # values and classes in a sentence


def add_values(
    domain: Domain, report: SplitReport, labels: Sequence[tuple[Path, Inspected]], pixels: np.ndarray, findings: Findings
) -> None:
    """Add raw ids or colours that are not listed, and classes that are listed and have no pixel.

    `labels` are those that were decoded, `pixels` (256,) those of each raw id in all of them.

    The list of a published data set is complete, so each other value is an error of its file. A user lists what matters: other values are
    ignored, which is a warning, and an error once they cover more pixels than all listed classes, since then most of the labels is lost.
    """
    if not isinstance(domain, FolderDomain):
        for path, item in labels:
            if item.raw is not None and item.unlisted:
                values = [f"{value} on {count / item.raw.sum():.2%} of the pixels" for value, count in item.unlisted.items()]
                findings.add_faults(domain.split, [Fault("unlisted_value", str(path), first_names(values))])
        return
    shares: Mapping[str, float] = {}
    if unlisted := sum((Counter(item.unlisted) for _, item in labels), Counter[str]()):
        shares = {value: count / pixels.sum() for value, count in unlisted.most_common()}
        _add_unlisted(domain, shares, pixels, labels, findings)
    _add_absent(domain, report, shares, findings)


def _add_unlisted(
    domain: FolderDomain, shares: Mapping[str, float], pixels: np.ndarray, labels: Sequence[tuple[Path, Inspected]], findings: Findings
) -> None:
    """Add the values that a user does not list, with their shares of all pixels of the labels that were decoded."""
    what, where = ("colours", "palette") if domain.colour_table else ("raw ids", "ids")
    unlisted_share = pixels[[value for value in range(256) if value not in (domain.raw_ids or ())]].sum() / pixels.sum()
    listed_share = pixels[domain.table != IGNORE].sum() / pixels.sum()
    places = [str(path) for path, item in labels if item.unlisted]
    sentence = (
        f"{what} that {where} does not list, on {unlisted_share:.2%} of the pixels, are ignored: {_listed(shares)}; in {len(places)} of"
        f" {len(labels)} labels, such as {places[0]}. List them there, as ignore if that is meant."
    )
    serious = unlisted_share > listed_share
    if serious:
        sentence += f" It is an error since all listed classes together have no more than {listed_share:.2%} of the pixels."
    found = findings.add("unlisted_value", domain.split, sentence, serious)
    found.places = places
    found.details = [first_names(item.unlisted) for _, item in labels if item.unlisted]


def _add_absent(domain: FolderDomain, report: SplitReport, shares: Mapping[str, float], findings: Findings) -> None:
    """Add listed classes without a pixel; of a sample of the labels only where it also holds values that are not listed."""
    absent = {name: values for name, values in domain.listed_values.items() if not report.class_shares.get(name)}
    if not absent or not report.counted or (report.counted < len(domain) and not shares):
        return
    one, many = ("colour", "colours") if domain.colour_table else ("raw id", "raw ids")
    classes = []
    for name, values in absent.items():
        listed = f"{many if len(values) > 1 else one} {'; '.join(values)}" if values else "listed nowhere"
        classes.append(f"{name} ({listed})")
    looked = f"any of the {report.counted:,} labels"
    if report.counted < len(domain):
        looked = f"the {report.counted:,} of {len(domain):,} labels that were decoded (deep=true decodes all)"
    sentence = f"classes that are listed have no pixel in {looked}: {first_names(classes, _SHOWN)}."
    if shares:
        sentence += f" Not listed, but there: {_listed(shares)}."
    findings.add("absent_class", domain.split, " ".join([sentence, *dict.fromkeys(_slips(absent, shares))]))


def _listed(shares: Mapping[str, float]) -> str:
    return first_names((f"{f'({value})' if ',' in value else value} ({share:.2%})" for value, share in shares.items()), _SHOWN)


def _slips(absent: Mapping[str, Sequence[str]], found: Mapping[str, float]) -> Iterator[str]:
    """Say how a value that is listed, and absent, may be a slip for one that was found."""
    for listed in (value for values in absent.values() for value in values):
        for value in found:
            if value.isdecimal() and not set("89") & set(value) and int(value, 8) == int(listed):
                yield f"YAML reads 0{value} as {listed}; if that was meant, write {value}."
            elif value.isdecimal() and int(value, 16) == int(listed):
                yield f"YAML reads 0x{value} as {listed}; if that was meant, write {value}."
            elif "," in value and value != listed and sorted(value.split(", ")) == sorted(listed.split(", ")):
                yield f"({value}) is ({listed}) with the channels in another order."
