"""Rows of a comparison: the runs that differ in nothing but the seed, and their scores over the seeds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pin_memory.evaluation.compared_runs import FACTS, Run
from pin_memory.runs.results import CONDITIONS, Results, TargetScores, kinds, known_mean, title
from pin_memory.utils.errors import ConfigurationError

CONTEXT = ("network", "sources", "protocol", "statistics")
"""What a row and its baseline share where several rows have the baseline's name."""

Spread = dict[str, Any]
"""A score over seeds: `mean`, `std` (of the sample; None for one seed), `n`, and `values` by seed."""


@dataclass(eq=False)
class Row:
    """Runs of several seeds."""

    runs: dict[str, Run]  # by seed
    label: str  # what tells it from the other rows
    differing: dict[str, Any] = field(default_factory=dict)  # the settings that tell it from rows with the same facts
    gain: dict[str, Any] | None = None  # over the baseline, as `gains.gain_between` returns it
    names: Mapping[str, str] = field(default_factory=dict)  # of methods and variants in tables, where they have others there

    def __post_init__(self) -> None:
        first = next(iter(self.runs.values()))
        self.facts, self.settings, self.targets = first.facts, first.compared_settings, first.results.targets
        self.kinds = first.results.kinds()

    @property
    def shown(self) -> dict[str, str]:
        """The facts, with methods and variants as tables name them."""
        return self.facts | {fact: self.names.get(self.facts[fact], self.facts[fact]) for fact in ("method", "variant")}

    @property
    def results(self) -> dict[str, Results]:
        """The results by seed."""
        return {seed: run.results for seed, run in self.runs.items()}

    @property
    def source_validation(self) -> dict[str, float | None]:
        """The mean mIoU over the sources' validation splits by seed."""
        return {seed: known_mean((one.source_validation or {}).values()) for seed, one in self.results.items()}

    @property
    def titles(self) -> dict[str, str]:
        """The names of the targets in tables."""
        return {name: title(name, scores.conditions) for name, scores in self.targets.items()}

    @property
    def folders(self) -> list[str]:
        """Where the runs lie."""
        return [str(folder) for run in self.runs.values() for folder in run.folders or (run.folder,)]

    def mean_results(self) -> Results:
        """Results whose scores are the means over the seeds."""
        results, targets = list(self.results.values()), {}
        for name, first in self.targets.items():
            scores = [one.targets[name] for one in results]
            means = {kind: known_mean(one.means.get(kind) for one in scores) for kind in first.means}
            iou = {label: known_mean(one.iou.get(label) for one in scores) for label in first.iou}
            targets[name] = TargetScores(means=means, iou=iou, conditions=first.conditions)
        return results[0].model_copy(update={"targets": targets, "mean_miou": known_mean(one.mean_miou for one in results)})

    def to_json(self) -> dict[str, Any]:
        """As `comparison.json` has it."""
        results = self.results
        return {
            **self.shown,
            "label": self.label,
            "settings": self.differing,
            "seeds": list(self.runs),
            "folders": self.folders,
            "targets": {
                name: combined({seed: one.targets[name] for seed, one in results.items()}, over_seeds)
                | {key: scores.conditions.get(key) for key in (*CONDITIONS, "added")}
                for name, scores in self.targets.items()
            },
            "mean_miou": over_seeds({seed: one.mean_miou for seed, one in results.items()}),
            "means": {kind: over_seeds({seed: one.mean(kind) for seed, one in results.items()}) for kind in self.kinds},
            "source_validation": over_seeds(self.source_validation),
            "step_seconds": known_mean(one.step_seconds for one in results.values()),
            "peak_bytes": max((one.peak_bytes or 0 for one in results.values()), default=0) or None,
            "gain": self.gain,
        }


def make_rows(runs: Sequence[Run], average: bool, names: Mapping[str, str] | None = None) -> tuple[list[Row], list[str]]:
    """Put runs together over their seeds, or give each a row; and a note on each run that a later one with its seed replaces.

    `names` are those of methods and variants in tables, where they are to have others there.
    """
    names = names or {}
    known = dict.fromkeys(name for run in runs for name in (run.facts["method"], run.facts["variant"]) if name)
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(f"names: {', '.join(unknown)} is none of the methods and variants compared, {', '.join(known)}.")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        conditions = {name: [scores.conditions.get(key) for key in CONDITIONS] for name, scores in sorted(run.results.targets.items())}
        same = repr((run.facts, conditions, sorted(run.compared_settings.items()))) if average else str(len(groups))
        groups.setdefault(same, []).append(run)
    if len(set(names.values())) < len(names):
        raise ConfigurationError(f"names: {', '.join(names.values())} are not all different, so that rows could not be told apart.")
    notes: list[str] = []
    rows = [Row(_by_seed(group, notes), group[0].label, names=names) for group in groups.values()]
    for row in rows:
        alike = [other.settings for other in rows if other.facts == row.facts]
        keys = dict.fromkeys(key for settings in alike for key in settings)
        row.differing = {key: row.settings.get(key) for key in keys if len({repr(settings.get(key)) for settings in alike}) > 1}
    if average:
        shown = shown_facts([row.facts for row in rows])
        for row in rows:
            facts = [row.shown[fact] for fact in shown if row.facts[fact]]
            row.label = ", ".join([*facts, *(f"{key}={value}" for key, value in row.differing.items())])
    return rows, notes


def _by_seed(group: Sequence[Run], notes: list[str]) -> dict[str, Run]:
    """Runs by seed in the order of the seeds; of two with one seed the later counts."""
    by_seed: dict[str, Run] = {}
    for run in sorted(group, key=lambda run: run.written):
        seed = str(run.results.seed)
        if earlier := by_seed.get(seed):
            notes.append(
                f"seed {seed} was run twice with the same settings: {run.folder} counts, {earlier.folder}, which is older, does not"
            )
        by_seed[seed] = run
    return dict(sorted(by_seed.items(), key=lambda item: (len(item[0]), item[0])))


def shown_facts(facts: Sequence[Mapping[str, str]]) -> list[str]:
    """The facts that tell rows apart; the method always is one."""
    return [fact for fact in FACTS if fact == "method" or len({row[fact] for row in facts}) > 1]


def over_seeds(values: Mapping[str, float | None]) -> Spread:
    """Mean and sample standard deviation over the seeds that have a value."""
    known = [value for value in values.values() if value is not None]
    std = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": known_mean(known), "std": std, "n": len(known), "values": dict(values)}


def find_baseline(name: str, rows: Sequence[Row], row: Row) -> Row | None:
    """The row that a baseline's name stands for next to `row`; None where several have that name, but none of them its context.

    A variant of this name comes before a method's plain row, and that before the method's variants.
    """
    ranked = [(rank, other) for other in rows if (rank := name_rank(other.facts, other.label, other.folders, name)) is not None]
    named = [other for rank, other in ranked if rank == min(found for found, _ in ranked)]
    if not named:
        facts = ("variant", "method", "experiment")
        known = dict.fromkeys(one for other in rows for one in (*(other.facts[fact] for fact in facts), other.label) if one)
        raise ConfigurationError(f"baseline={name} is none of the runs compared; choose one of {', '.join(known)}, or a run's folder.")
    if any(other is row for other in named):
        return row
    if len(named) == 1:
        return named[0]
    for shared in (CONTEXT, (*CONTEXT, "experiment"), (*CONTEXT, "experiment", "selection")):
        near = [other for other in named if all(other.facts[fact] == row.facts[fact] for fact in shared)]
        if len(near) < 2:
            return near[0] if near else None
    folders = "; ".join(other.folders[0] for other in near)
    raise ConfigurationError(f"baseline={name} fits {len(near)} rows ({folders}). Name one of them by its folder.")


def name_rank(facts: Mapping[str, Any], label: str, folders: Sequence[str], baseline: str) -> int | None:
    """How directly a baseline's name stands for a row, 0 before 1 before 2; None where it does not.

    The name of a variant, a label or the end of a folder's path; a method or an experiment of a row that is no variant; of one that is.
    """
    if baseline in (facts["variant"], label, *folders) or any(folder.rstrip("/").endswith(f"/{baseline.strip('/')}") for folder in folders):
        return 0
    if baseline in (facts["method"], facts["experiment"]):
        return 2 if facts["variant"] else 1
    return None


def combined(scores: Mapping[str, TargetScores], combine: Callable[[Mapping[str, float | None]], Spread]) -> dict[str, Any]:
    """The scores of a target by seed, combined one by one."""
    first = next(iter(scores.values()))
    means = {kind: combine({seed: one.means.get(kind) for seed, one in scores.items()}) for kind in first.means}
    return {**means, "iou": {name: combine({seed: one.iou.get(name) for seed, one in scores.items()}) for name in first.iou}}


def scores_by_name(row: Mapping[str, Any] | None, target: str | None) -> dict[str, Spread]:
    """The scores of a row of `comparison.json`, or of its gain, on a target by the name of the mean or class; over the targets for None."""
    if row is None or target is None:
        return row["means"] if row else {}
    scores = row["targets"].get(target) or {}
    return {kind: scores[kind] for kind in kinds([scores])} | scores.get("iou", {})
