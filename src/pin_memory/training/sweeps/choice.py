"""Which setting of a sweep is the best: by its mean over the seeds, and over all else that is averaged, that every setting has."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any


def compared_settings(jobs: Sequence[dict[str, Any]], averaged: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Mean and spread over the seeds of each setting with a score, the best first, and sentences on how they were compared.

    Settings are compared by their means over the seeds that all of them have: seeds that only some have say as much about the seeds as
    about the settings. A setting that misses a seed is not compared (None), or it would win by losing its worst seed. What holds for seeds
    holds for the domain that is left out, and for whatever else is averaged.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault(job["identity"].setting, []).append(job)
    names = {job["identity"].place: _place_name(job, averaged) for job in reversed(jobs)}
    requested = {setting: {job["identity"].place for job in group} for setting, group in groups.items()}
    scores = {
        setting: found
        for setting, group in groups.items()
        if (found := {job["identity"].place: job["objective"] for job in group if job["objective"] is not None})
    }
    known = set(chain(*scores.values()))
    missing = {setting: known & requested[setting] - found.keys() for setting, found in scores.items()}
    compared = [set(found) for setting, found in scores.items() if not missing[setting]]
    shared = set.intersection(*compared) if compared else set()
    rows: dict[str, dict[str, Any]] = {}
    for setting, found in scores.items():
        own, scored = list(found.values()), [job for job in groups[setting] if job["objective"] is not None]
        rows[setting] = {
            "settings": {key: value for key, value in scored[0]["settings"].items() if key not in averaged},
            "mean": statistics.fmean(own), "std": statistics.stdev(own) if len(own) > 1 else None,
            "compared": None if missing[setting] else statistics.fmean(found[place] for place in found if place in shared or not shared),
            "jobs": [job["name"] for job in scored],
        }  # fmt: skip
    lost = {as_typed(rows[setting]["settings"]): {names[place] for place in found} for setting, found in missing.items()}
    notes = _notes(lost, {names[place] for place in shared}, any(found != shared for found in compared), averaged)
    order = sorted(rows.values(), key=lambda row: (-1.0 if row["compared"] is None else row["compared"], row["mean"]), reverse=True)
    return order, notes


def as_typed(settings: Mapping[str, str | None]) -> str:
    """Settings as they are typed on a command line."""
    return " ".join(f"{key}={value}" for key, value in settings.items() if value is not None)


def _place_name(job: Mapping[str, Any], averaged: Sequence[str]) -> str:
    """What a job is averaged by: its seed, or all of what is averaged as it is typed."""
    values = {key: job["settings"].get(key) for key in averaged}
    return as_typed(values) if set(averaged) - {"seed"} else str(values.get("seed"))


def _notes(missing: Mapping[str, set[str]], shared: set[str], differ: bool, averaged: Sequence[str]) -> list[str]:
    """What has to be known about the comparison of the settings, where it is not simply that of their means."""
    only_seeds = not set(averaged) - {"seed"}
    one, all_of, many = ("seed ", "the seeds", "seeds") if only_seeds else ("", "what", "runs")
    notes = [
        f"Not compared: {setting}, which has no score with {one}{_listed(places)} while others have one."
        for setting, places in missing.items()
        if places
    ]
    if differ:
        notes.append(
            f"Settings were compared over {all_of} {'that ' if only_seeds else ''}all of them have: {_listed(shared)}."
            if shared
            else f"Settings were compared over different {many}, as none is common to all: the best may have had the easier ones."
        )
    return notes


def _listed(places: Iterable[str]) -> str:
    """Seeds in the order of their numbers."""
    return ", ".join(sorted(places, key=lambda place: (len(place), place)))
