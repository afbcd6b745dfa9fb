"""Leave-one-out runs: the folds of one seed are merged into one run that was tested on every domain."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pin_memory.evaluation.compared_runs import Run
from pin_memory.runs.results import known_mean

_LEAVES_OUT = ".leave_one_out"
"""How the name of what makes the data of such a run ends."""


def merge_folds(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Replace the folds of each seed, runs that differ in nothing but the domain that they leave out, by one run with a target for each.

    A single fold stays as it is. Of two that leave out the same domain with the same seed the later counts. Returns the runs in their
    order, and notes on what they do not contain.
    """
    folds: dict[str, dict[str, dict[str, Run]]] = {}  # by settings, seed and domain
    others, notes = [], []
    for run in sorted(runs, key=lambda run: run.written):
        if (left_out := _left_out(run)) is None:
            others.append(run)
            continue
        facts = {name: fact for name, fact in run.facts.items() if name != "sources"}
        same = repr((facts, sorted(_domains(run)), sorted(_settings(run.compared_settings, left_out).items())))
        seed = folds.setdefault(same, {}).setdefault(str(run.results.seed), {})
        if earlier := seed.get(left_out):
            notes.append(f"seed {run.results.seed} was run twice without {left_out}: {run.folder} counts, {earlier.folder} does not")
        seed[left_out] = run
    for seeds in folds.values():
        if len({name for found in seeds.values() for name in found}) < 2:
            others += [run for found in seeds.values() for run in found.values()]
            continue
        for seed_name, found in seeds.items():
            others.append(_merged(found))
            notes += _notes(seed_name, found)
    order = {str(run.folder): place for place, run in enumerate(runs)}
    return sorted(others, key=lambda run: order[str(run.folder)]), list(dict.fromkeys(notes))


def _left_out(run: Run) -> str | None:
    """The domain that a run left out of training and was tested on; None for a run of another kind."""
    if not str(run.settings.get("data._target_")).endswith(_LEAVES_OUT):
        return None
    found = [name for name in run.results.targets if name in _domains(run) and name not in run.results.sources]
    return found[0] if len(found) == 1 else None


def _domains(run: Run) -> list[str]:
    """All domains of a run that leaves one out."""
    parts = [key.split(".") for key in run.settings if key.startswith(("data.domains.", "data.sources."))]
    return list(dict.fromkeys(part[2] for part in parts))


def _settings(settings: dict[str, Any], left_out: str) -> dict[str, Any]:
    """The settings without those that name the domain that is left out."""
    return {key: value for key, value in settings.items() if key not in ("target", "data.target") and str(value) != left_out}


def _merged(found: dict[str, Run]) -> Run:
    """One run of all domains: its scores on each are those of the fold that left it out."""
    first = next(iter(found.values()))
    names = [name for name in _domains(first) if name in found]
    targets = {name: found[name].results.targets[name] for name in names}
    validation = {name: known_mean((found[name].results.source_validation or {}).values()) for name in names}
    results = first.results.model_copy(
        update={
            "sources": [f"{'+'.join(_domains(first))}, each left out once"],
            "targets": targets,
            "mean_miou": known_mean(scores.miou for scores in targets.values()),
            "source_validation": validation,
            "step_seconds": known_mean(one.results.step_seconds for one in found.values()),
            "peak_bytes": max((one.results.peak_bytes or 0 for one in found.values()), default=0) or None,
        }
    )
    settings = _settings(dict(first.settings), next(iter(found)))
    return replace(first, results=results, settings=settings, folders=tuple(found[name].folder for name in names))


def _notes(seed: str, found: dict[str, Run]) -> list[str]:
    """Domains without a run, and targets that are no domain that was left out."""
    notes = []
    first = next(iter(found.values()))
    if missing := [name for name in _domains(first) if name not in found]:
        name = first.facts["variant"] or first.facts["method"]
        notes.append(f"{name}, seed {seed}: no run that leaves out {', '.join(missing)}; its mean is over the others")
    if further := list(dict.fromkeys(name for left_out, run in found.items() for name in run.results.targets if name != left_out)):
        notes.append(f"{', '.join(further)}: left out of the table, as each run that leaves a domain out has a score of its own on it")
    return notes
