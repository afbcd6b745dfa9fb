"""Rows of a comparison: the runs that differ in nothing but the seed, their scores over the seeds, and the gain of one row over another."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pin_memory.evaluation.compared_runs import FACTS, Run
from pin_memory.runs.results import CONDITIONS, Results, TargetScores, difference, gain_over, kinds, known_mean, title
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
    gain: dict[str, Any] | None = None  # over the baseline, as `gain_between` returns it

    def __post_init__(self) -> None:
        first = next(iter(self.runs.values()))
        self.facts, self.settings, self.targets = first.facts, first.compared_settings, first.results.targets
        self.kinds = first.results.kinds()

    @property
    def results(self) -> dict[str, Results]:
        """The results by seed."""
        return {seed: run.results for seed, run in self.runs.items()}

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
            **self.facts,
            "label": self.label,
            "settings": self.differing,
            "seeds": list(self.runs),
            "folders": self.folders,
            "targets": {
                name: _combined({seed: one.targets[name] for seed, one in results.items()}, over_seeds)
                | {key: scores.conditions.get(key) for key in (*CONDITIONS, "added")}
                for name, scores in self.targets.items()
            },
            "mean_miou": over_seeds({seed: one.mean_miou for seed, one in results.items()}),
            "means": {kind: over_seeds({seed: one.mean(kind) for seed, one in results.items()}) for kind in self.kinds},
            "source_validation": over_seeds({s: known_mean((one.source_validation or {}).values()) for s, one in results.items()}),
            "gain": self.gain,
        }


def make_rows(runs: Sequence[Run], average: bool) -> tuple[list[Row], list[str]]:
    """Put runs together over their seeds, or give each a row; and a note on each run that a later one with its seed replaces."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        conditions = {name: [scores.conditions.get(key) for key in CONDITIONS] for name, scores in sorted(run.results.targets.items())}
        same = repr((run.facts, conditions, sorted(run.compared_settings.items()))) if average else str(len(groups))
        groups.setdefault(same, []).append(run)
    notes: list[str] = []
    rows = [Row(_by_seed(group, notes), group[0].label) for group in groups.values()]
    for row in rows:
        alike = [other.settings for other in rows if other.facts == row.facts]
        keys = dict.fromkeys(key for settings in alike for key in settings)
        row.differing = {key: row.settings.get(key) for key in keys if len({repr(settings.get(key)) for settings in alike}) > 1}
    if average:
        shown = shown_facts([row.facts for row in rows])
        for row in rows:
            facts = [row.facts[fact] for fact in shown if row.facts[fact]]
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
    """The row that a baseline's name stands for next to `row`; None where several have that name, but none of them its context."""
    named = [other for other in rows if is_named(other.facts, other.label, other.folders, name)]
    if not named:
        known = dict.fromkeys(one for other in rows for one in (other.facts["method"], other.facts["experiment"], other.label) if one)
        raise ConfigurationError(f"baseline={name} is none of the runs compared; choose one of {', '.join(known)}, or a run's folder.")
    if any(other is row for other in named):
        return row
    if len(named) == 1:
        return named[0]
    for facts in (CONTEXT, (*CONTEXT, "experiment"), (*CONTEXT, "experiment", "selection")):
        near = [other for other in named if all(other.facts[fact] == row.facts[fact] for fact in facts)]
        if len(near) < 2:
            return near[0] if near else None
    folders = "; ".join(other.folders[0] for other in near)
    raise ConfigurationError(f"baseline={name} fits {len(near)} rows ({folders}). Name one of them by its folder.")


def is_named(facts: Mapping[str, Any], label: str, folders: Sequence[str], baseline: str) -> bool:
    """Whether a row is what a baseline's name stands for: a method, an experiment, a label, or the end of a folder's path."""
    return baseline in (facts["method"], facts["experiment"], label, *folders) or any(
        folder.rstrip("/").endswith(f"/{baseline.strip('/')}") for folder in folders
    )


def gain_between(row: Row, base: Row) -> dict[str, Any]:
    """The gain of a row over another: the mean of the differences of equal seeds; without any the difference of the means.

    `targets` has None for one that was not evaluated in the same way; `means` is empty unless all targets are comparable.
    """
    seeds = [seed for seed in row.runs if seed in base.runs]
    pairs = {seed: (row.results[seed], base.results[seed]) for seed in seeds} or {"": (row.mean_results(), base.mean_results())}
    combine = over_seeds if seeds else _without_seeds
    gains = {seed: gain_over(own, other, base.label) for seed, (own, other) in pairs.items()}
    targets: dict[str, Any] = {}
    for name in row.targets:
        differences = {seed: scores for seed, gain in gains.items() if (scores := gain.targets[name])}
        targets[name] = _combined(differences, combine) if differences else None
    complete = row.targets.keys() == base.targets.keys() and all(targets.values())
    means = {
        kind: combine({seed: difference(own.mean(kind), other.mean(kind)) for seed, (own, other) in pairs.items()})
        for kind in row.kinds
        if complete and kind in base.kinds
    }
    found = {"baseline": base.label, "paired": bool(seeds), "seeds": seeds, "targets": targets}
    return found | {"mean_miou": means.get("miou"), "means": means}


def _without_seeds(values: Mapping[str, float | None]) -> Spread:
    """A difference of two means, which has no spread."""
    return {"mean": next(iter(values.values())), "std": None, "n": 0, "values": {}}


def _combined(scores: Mapping[str, TargetScores], combine: Callable[[Mapping[str, float | None]], Spread]) -> dict[str, Any]:
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
