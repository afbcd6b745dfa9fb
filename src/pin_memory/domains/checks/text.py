"""The outcome of a check as text for people and as JSON for programs; the text is made of what the JSON holds."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pin_memory.domains.checks.findings import DomainReport, Outcome
from pin_memory.utils.tables import Cell, Table

_COLUMNS = ["data set", "outcome", "layout found", "split", "sizes", "pairs", "published", "images", "labels"]
_TEXT_COLUMNS = 5
_MARK = {"error": "ERROR", "warning": "warning", "note": "note"}
_SHARES_PER_TABLE = 8


def as_json(outcome: Outcome) -> str:
    """The outcome with every file that a finding is about."""
    counts = {"failed": outcome.failed, "errors": outcome.count("error"), "warnings": outcome.count("warning")}
    return json.dumps(counts | asdict(outcome), indent=2)


def as_text(outcome: Outcome) -> str:
    """The outcome as tables: what lies where, what was found, which classes."""
    shown = outcome.shown
    parts = [f"Data sets in {outcome.data}" + ("" if outcome.deep else " (labels: a sample; deep=true decodes everything)")]
    if shown:
        parts.append(Table([], _COLUMNS, [[row for domain in shown for row in _rows(domain)]], _TEXT_COLUMNS).text())
    if absent := [domain for domain in outcome.domains if domain not in shown]:
        parts.append("Not there: " + ", ".join(dict.fromkeys(f"{Path(domain.root).name}/" for domain in absent)))
    if found := "\n".join(line for domain in shown for line in _findings(domain)):
        parts.append(f"What was found\n{found}")
    parts += _values(shown)
    parts += _shares(shown)
    parts.append(_conclusion(outcome))
    return "\n\n".join(parts)


def _rows(domain: DomainReport) -> list[list[Cell]]:
    """A line for each split; what is as in the line above is not repeated."""
    worst = {finding.level for finding in domain.findings}
    outcome = "ERROR" if "error" in worst else "warning" if "warning" in worst else "ok"
    name = ", ".join(domain.names) + (" (stand-in)" if domain.stand_in else "")
    rows: list[list[Cell]] = []
    before = ""
    for split in domain.splits:
        files = [f"{split.images:,}", f"{split.labels:,}"]
        if not split.own_folder:
            files = ["", ""] if rows else [f"{files[0]} in all", f"{files[1]} in all"]
        layout = split.layout if split.encoding in split.layout else f"{split.layout} ({split.encoding})"
        head = ["", ""] if rows else [name, outcome]
        published = f"of {split.published:,}" if split.published else ""
        rows.append([*head, "" if layout == before else layout, split.split, _sizes(split.sizes), f"{split.pairs:,}", published, *files])
        before = layout
    return rows or [[name, outcome, "none", *[""] * (len(_COLUMNS) - 3)]]


def _sizes(sizes: dict[str, int], shown: int = 2) -> str:
    """The most frequent sizes with how many images have them, and the number of other sizes."""
    if len(sizes) == 1:
        return next(iter(sizes))
    first = ", ".join(f"{size} ({count:,})" for size, count in list(sizes.items())[:shown])
    return first + (f" and {len(sizes) - shown} other sizes" if len(sizes) > shown else "")


def _findings(domain: DomainReport) -> list[str]:
    """The findings of a data set, several lines where the message has several."""
    lines = []
    for finding in domain.findings:
        where = f", {', '.join(finding.splits)}" if finding.splits and finding.kind not in ("missing", "fewer") else ""
        first, *more = finding.message.splitlines()
        lines.append(f"  {_MARK[finding.level]:<8}{', '.join(domain.names)}{where}: {first} [{finding.kind}]")
        lines += [f"          {line}" for line in more]
    return lines


def _values(domains: Sequence[DomainReport]) -> list[str]:
    """For each data set, the raw label values that were seen and the class that the table makes of each."""
    lines = []
    for domain in domains:
        seen = [(value, entry["class"], entry["share"]) for split in domain.splits for value, entry in split.raw_values.items()]
        used = _ranges(sorted({value for value, name, _ in seen if name is not None}))
        largest = {value: share for value, name, share in sorted(seen, key=lambda item: item[2]) if name is None}
        ignored = ", ".join(f"{value} ({share:.2%})" for value, share in sorted(largest.items()))
        if seen:
            lines.append(f"  {', '.join(domain.names)}: {used} are classes; {f'ignored: {ignored}' if ignored else 'none ignored'}")
    return ["Raw label values seen (largest share of the pixels of a split)\n" + "\n".join(lines)] if lines else []


def _ranges(values: list[int]) -> str:
    """Whole numbers in a row as first-last."""
    groups: list[list[int]] = []
    for value in values:
        if groups and value == groups[-1][-1] + 1:
            groups[-1].append(value)
        else:
            groups.append([value])
    return ", ".join(str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups) or "no values"


def _shares(domains: Sequence[DomainReport]) -> list[str]:
    """Class pixel shares in percent: a column for the first split of each data set, a few data sets to a table."""
    seen = [(domain, domain.splits[0]) for domain in domains if domain.splits and domain.splits[0].counted]
    parts = []
    while seen:
        names = list(seen[0][1].class_shares)
        group = [item for item in seen if list(item[1].class_shares) == names][:_SHARES_PER_TABLE]
        seen = [item for item in seen if item not in group]
        rows: list[list[Cell]] = [[name, *(_percent(split.class_shares[name]) for _, split in group)] for name in names]
        rows.append(["ignored", *(_percent(split.ignored_share) for _, split in group)])
        rows.append(["labels counted", *(f"{split.counted:,}" for _, split in group)])
        heads = ["class", *(f"{domain.names[0]} {split.split}" for domain, split in group)]
        parts.append(Table(["Class shares, % of the labelled pixels (ignored: of all)"], heads, [rows]).text())
    return parts


def _percent(share: float) -> str:
    return f"{100 * share:.3g}" if 0 < share < 0.001 else f"{100 * share:.2f}" if share else "-"


def _conclusion(outcome: Outcome) -> str:
    errors, warnings = outcome.count("error"), outcome.count("warning")
    if all(domain.absent for domain in outcome.domains) and not errors:
        return f"No data set was found in {outcome.data}. Each needs its own folder there; name another place with paths.data=DIR."
    counted = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    if errors:
        return f"{counted}. Fix the errors, or take a kind of them with accept=[KIND]."
    if missing := outcome.missing:
        return f"{counted}. Not there: {', '.join(missing)}. Get what you need of this; the rest can be read."
    return f"{counted}. Ready to train."
