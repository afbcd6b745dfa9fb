"""Runs beside each other: read, put together over seeds, and the gain over a baseline.

A row of a comparison stands for the runs that differ in nothing but the seed. Scores that were measured in different ways (protocol,
evaluation view, classes, images of a target) never go into one number.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pin_memory.runs.comparison_runs import read_runs, settings_of
from pin_memory.runs.results import known_mean
from pin_memory.utils.errors import ConfigurationError

FACTS = ("experiment", "method", "network", "sources", "protocol", "statistics", "selection")
"""What a row is named by; two rows that agree in all of them differ in their `settings`."""
_CONTEXT = ("network", "sources", "protocol", "statistics")
JUDGED = ("view", "image_scale", "label_scale", "layout", "images", "classes")
"""What two scores on a target must share, besides the protocol, to be of the same pixels and classes."""

Row = dict[str, Any]
Scores = Mapping[str, float | None]


def compare(runs: Sequence[Mapping[str, Any]], baseline: str | None = None, over_seeds: bool = True) -> dict[str, Any]:
    """Put runs together over their seeds and beside each other.

    Args:
        runs: What `read_runs` returns: contents of `results.json`, each with its `folder`.
        baseline: Method, experiment, label or folder of what the others are compared with; where several rows have that name, each row
            goes by the one of its own network, sources, protocol and statistics.
        over_seeds: False gives every run a row of its own.

    Returns:
        Plain values, which `comparison.json` holds. `rows`: each with its facts, `seeds`, `folders`, `targets` (of each: `miou` and the
        further means, `iou` by class, how it was judged), `mean_miou`, `means` (of all kinds, over the targets) and `gain` (None for the
        baseline itself and without one; else `baseline`, `paired`, `seeds`, `targets`, `mean_miou`, `means`). Every score is
        `{"mean", "std", "n", "values"}`: fractions, the sample standard deviation (None for one seed), `values` by seed. Beside the rows
        `targets`, `classes`, `stand_in`, `baseline`, `over_seeds`, and `notes`: what a reader must know before comparing.

    Raises:
        ConfigurationError: No run, stand-in scores beside real ones, or a baseline that is none of the rows or not clear.
    """
    if not runs:
        raise ConfigurationError("There is no run to compare.")
    refuse_mixture(runs)
    notes: list[str] = []
    rows = [_row(group, notes) for group in _groups(runs, over_seeds)]
    _name_rows(rows, over_seeds)
    for row in rows:
        row["gain"] = _gain(row, rows, baseline, notes) if baseline else None
    targets = list(dict.fromkeys(name for row in rows for name in row["targets"]))
    notes += _differences(rows, targets)
    for row in rows:
        del row["all_settings"]
    classes = list(dict.fromkeys(name for row in rows for target in row["targets"].values() for name in target["iou"]))
    return {
        "stand_in": bool(runs[0].get("stand_in")),
        "baseline": baseline,
        "over_seeds": over_seeds,
        "targets": targets,
        "classes": classes,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }


def gain_over(results: Mapping[str, Any], baseline: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Difference of one run's scores to those of another, for the targets that both were judged on in the same way.

    Args:
        results: The content of a `results.json`.
        baseline: That of the other run.
        name: Of the other run.

    Returns:
        `{"baseline": name, "statistics": ..., "targets": {target: {"miou": ..., "iou": {...}}}, "mean_miou": ...}`, fractions; None for a
        target that is not comparable, and for the mean unless all are. `statistics` are the baseline's, of batch norm.
    """
    targets: dict[str, Any] = {}
    for target, scores in results["targets"].items():
        other = baseline["targets"].get(target)
        alike = other is not None and results["protocol"] == baseline["protocol"] and _judged(scores) == _judged(other)
        targets[target] = _minus(scores, other) if alike else None
    whole = set(results["targets"]) == set(baseline["targets"]) and all(targets.values())
    mean = _difference(results["mean_miou"], baseline["mean_miou"]) if whole else None
    return {"baseline": name, "statistics": baseline.get("statistics"), "targets": targets, "mean_miou": mean}


def _minus(scores: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of all means, and of the IoU of all classes."""
    means: dict[str, Any] = {key: _difference(scores[key], other.get(key)) for key in _means(scores)}
    return means | {"iou": {name: _difference(value, other["iou"].get(name)) for name, value in scores["iou"].items()}}


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _means(scores: Mapping[str, Any]) -> list[str]:
    """Names of the means of a target: miou, and with SYNTHIA miou16 and miou13."""
    return [key for key in scores if key.startswith("miou")]


def _all_means(run: Mapping[str, Any]) -> list[str]:
    """Names of the means that a run has on any target."""
    return list(dict.fromkeys(key for scores in run["targets"].values() for key in _means(scores)))


def _over_targets(run: Mapping[str, Any], kind: str) -> float | None:
    """Unweighted mean of a run over its targets."""
    return known_mean(scores.get(kind) for scores in run["targets"].values())


def _judged(scores: Mapping[str, Any]) -> dict[str, Any]:
    """How a target was judged, besides the protocol."""
    return {key: scores.get(key) for key in JUDGED}


def refuse_mixture(runs: Iterable[Mapping[str, Any]]) -> None:
    """Refuse stand-in scores beside real ones.

    Args:
        runs: Contents of `results.json`, with the `folder` they are named by where there is one.

    Raises:
        ConfigurationError: There are both.
    """
    kinds: dict[bool, list[str]] = {}
    for run in runs:
        kinds.setdefault(bool(run.get("stand_in")), []).append(str(run.get("folder", run.get("method"))))
    if len(kinds) > 1:
        raise ConfigurationError(
            f"STAND-IN scores cannot stand beside real ones: {kinds[True][0]} was judged on drawn stand-ins, {kinds[False][0]} on real"
            " images. Compare the two kinds apart."
        )


def _groups(runs: Sequence[Mapping[str, Any]], over_seeds: bool) -> list[list[Mapping[str, Any]]]:
    """The runs that differ in nothing but the seed."""
    if not over_seeds:
        return [[run] for run in runs]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        judged = {name: _judged(scores) for name, scores in sorted(run["targets"].items())}
        groups.setdefault(repr((_facts(run), judged, sorted(settings_of(run).items()))), []).append(run)
    return list(groups.values())


def _facts(run: Mapping[str, Any]) -> dict[str, str]:
    """What a run is named by, as text."""
    facts = {fact: run.get(fact) for fact in FACTS} | {"selection": str(run.get("selection", "")).partition(" (step")[0]}
    return {fact: "+".join(value) if isinstance(value, list | tuple) else str(value or "") for fact, value in facts.items()}


def _row(group: Sequence[Mapping[str, Any]], notes: list[str]) -> Row:
    """One row of the runs of several seeds; of two runs with one seed the later counts."""
    by_seed: dict[str, Mapping[str, Any]] = {}
    for run in sorted(group, key=lambda run: run.get("written", 0)):
        seed = str(run.get("seed"))
        if earlier := by_seed.get(seed):
            notes.append(
                f"seed {seed} was run twice with the same settings: {run['folder']} counts, {earlier['folder']}, which is older, does not"
            )
        by_seed[seed] = run
    by_seed = dict(sorted(by_seed.items(), key=lambda item: (len(item[0]), item[0])))
    first = group[0]
    targets = {name: _target({seed: run["targets"][name] for seed, run in by_seed.items()}) for name in first["targets"]}
    return {
        **_facts(first),
        "label": str(first.get("label") or first.get("folder", "")),
        "settings": {},
        "all_settings": settings_of(first),
        "seeds": list(by_seed),
        "folders": [str(run.get("folder", "")) for run in by_seed.values()],
        "targets": targets,
        "mean_miou": _over_seeds({seed: run["mean_miou"] for seed, run in by_seed.items()}),
        "means": {kind: _over_seeds({seed: _over_targets(run, kind) for seed, run in by_seed.items()}) for kind in _all_means(first)},
        "source_validation": _over_seeds({seed: _on_sources(run) for seed, run in by_seed.items()}),
    }


def _on_sources(run: Mapping[str, Any]) -> float | None:
    """Mean of a run over the validation of its sources."""
    return known_mean((run.get("source_validation") or {}).values())


def _target(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A target's scores by seed, put together."""
    first = next(iter(scores.values()))
    means = {key: _over_seeds({seed: run.get(key) for seed, run in scores.items()}) for key in _means(first)}
    classes = {name: _over_seeds({seed: run["iou"].get(name) for seed, run in scores.items()}) for name in first["iou"]}
    return {**means, "iou": classes, **_judged(first)}


def _over_seeds(values: Scores) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds that have a value."""
    known = [value for value in values.values() if value is not None]
    std = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": known_mean(known), "std": std, "n": len(known), "values": dict(values)}


def shown_facts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Facts that tell rows apart; the method always is one."""
    return [fact for fact in FACTS if fact == "method" or len({row[fact] for row in rows}) > 1]


def _name_rows(rows: Sequence[Row], over_seeds: bool) -> None:
    """Say of rows that agree in all facts in which settings they differ, and label rows of several seeds by what tells them apart."""
    for row in rows:
        others = [other["all_settings"] for other in rows if all(other[fact] == row[fact] for fact in FACTS)]
        keys = dict.fromkeys(key for settings in others for key in settings)
        varying = [key for key in keys if len({repr(settings.get(key)) for settings in others}) > 1]
        row["settings"] = {key: row["all_settings"].get(key) for key in varying}
    if over_seeds:
        facts = shown_facts(rows)
        for row in rows:
            row["label"] = ", ".join([*(row[fact] for fact in facts if row[fact]), *(f"{k}={v}" for k, v in row["settings"].items())])


def _gain(row: Row, rows: Sequence[Row], baseline: str, notes: list[str]) -> dict[str, Any] | None:
    """The gain of a row over its baseline, paired by seed where they have seeds in common; None for the baseline itself."""
    base = _baseline_of(row, rows, baseline)
    if base is row:
        return None
    if base is None:
        notes.append(f"no gain for {_named(row)}: no row of {baseline} has its {', '.join(_CONTEXT[:-1])} and {_CONTEXT[-1]}")
        return None
    if differing := [fact for fact in ("network", "sources", "statistics", "selection") if row[fact] != base[fact]]:
        notes.append(f"the gain of {_named(row)} is over a row of other {' and '.join(differing)}")
    seeds = [seed for seed in row["seeds"] if seed in base["seeds"]]
    if not seeds:
        notes.append(f"the gain of {_named(row)} is the difference of two means: it has no seed in common with {_named(base)}")
    targets: dict[str, Any] = {}
    for name, scores in row["targets"].items():
        other = base["targets"].get(name)
        if other is None or row["protocol"] != base["protocol"] or _judged(scores) != _judged(other):
            notes.append(
                f"no gain for {_named(row)} on {name}: {_named(base)} was not judged on it in the same way (protocol, view, classes)"
            )
            targets[name] = None
            continue
        means = {key: _paired(scores[key], other[key], seeds) for key in _means(scores) if key in other}
        targets[name] = means | {"iou": {k: _paired(v, other["iou"][k], seeds) for k, v in scores["iou"].items() if k in other["iou"]}}
    whole = set(row["targets"]) == set(base["targets"]) and all(targets.values())
    means = {kind: _paired(row["means"][kind], base["means"][kind], seeds) for kind in row["means"] if whole and kind in base["means"]}
    found = {"baseline": _named(base), "paired": bool(seeds), "seeds": seeds, "targets": targets}
    return found | {"mean_miou": means.get("miou"), "means": means}


def _paired(one: Mapping[str, Any], other: Mapping[str, Any], seeds: Sequence[str]) -> dict[str, Any]:
    """Mean and spread of the differences of equal seeds; without any the difference of the means."""
    if seeds:
        return _over_seeds({seed: _difference(one["values"].get(seed), other["values"].get(seed)) for seed in seeds})
    return {"mean": _difference(one["mean"], other["mean"]), "std": None, "n": 0, "values": {}}


def _baseline_of(row: Row, rows: Sequence[Row], baseline: str) -> Row | None:
    """The row that the baseline's name stands for beside `row`.

    Raises:
        ConfigurationError: No row has that name, or several that cannot be told apart.
    """
    named = [other for other in rows if is_named(other, baseline)]
    if not named:
        known = dict.fromkeys(name for other in rows for name in (other["method"], other["experiment"], other["label"]) if name)
        raise ConfigurationError(f"baseline={baseline} is none of the runs compared; choose one of {', '.join(known)}, or a run's folder.")
    if any(other is row for other in named):
        return row
    if len(named) == 1:
        return named[0]
    for facts in (_CONTEXT, (*_CONTEXT, "experiment"), (*_CONTEXT, "experiment", "selection")):
        near = [other for other in named if all(other[fact] == row[fact] for fact in facts)]
        if len(near) < 2:
            return near[0] if near else None
    folders = "; ".join(other["folders"][0] for other in near)
    raise ConfigurationError(f"baseline={baseline} fits {len(near)} rows ({folders}). Name one of them by its folder.")


def is_named(row: Mapping[str, Any], baseline: str) -> bool:
    """Whether a row is what a baseline's name stands for: a method, an experiment, a label, or the end of a folder's path."""
    return baseline in (row["method"], row["experiment"], row["label"], *row["folders"]) or any(
        folder.rstrip("/").endswith(f"/{baseline.strip('/')}") for folder in row["folders"]
    )


def _named(row: Row) -> str:
    return str(row["label"])


def _differences(rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    """What keeps rows from being compared with each other."""
    notes = []
    if len(protocols := dict.fromkeys(row["protocol"] for row in rows)) > 1:
        notes.append(f"rows of different protocols cannot be compared with each other: {', '.join(protocols)}")
    if len({tuple(sorted(row["targets"])) for row in rows}) > 1:
        notes.append("rows were judged on different targets: their means over the targets cannot be compared")
    for name in targets:
        ways = [_judged(row["targets"][name]) for row in rows if name in row["targets"]]
        if differing := [key for key in JUDGED if len({repr(way[key]) for way in ways}) > 1]:
            notes.append(f"scores on {name} cannot be compared across rows: they differ in {', '.join(differing)}")
    return notes


__all__ = ["FACTS", "JUDGED", "compare", "gain_over", "is_named", "read_runs", "refuse_mixture"]
