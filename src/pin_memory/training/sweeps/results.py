"""What came of a sweep, read from the folders of its jobs."""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pin_memory.training.sweeps.job import OUTCOMES, RECORD, is_finished, read_record
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import read_json_or

OBJECTIVE = "mean over the sources of the mIoU on their validation splits"
SWEPT = ".swept.json"  # file in a sweep's folder: the settings that it changes


def read_sweep(folder: str | Path) -> dict[str, Any]:
    """What came of a sweep, read from the folders of its jobs.

    Args:
        folder: The sweep's, `runs/<experiment>/sweeps/<sweep>`.

    Returns:
        `jobs`: a dictionary each, the best score first: `name`, `status` (finished, failed, unfinished), `outcome` at the last start
        (finished, skipped, failed, ...), `settings` that differ (text by key), `objective` in 0..1, `source_validation`, `seconds`,
        `error`. `settings`: mean and sample standard deviation of the objective for each setting over its seeds, and what settings are
        compared by (`compared`, the mean over the seeds that all have), the best first. `best`: the first of them, None where nothing but
        the seed differs or none can be compared. `notes`: sentences on the comparison. `stand_in`: whether drawn scenes were trained on.

    Raises:
        ConfigurationError: There is no sweep in the folder.
    """
    folder = Path(folder)
    places = jobs_in(folder)
    if not places:
        raise ConfigurationError(f"{folder}: expected the folder of a sweep (runs/<experiment>/sweeps/<sweep>), found no jobs in it.")
    jobs = [_job(place, read_json_or(folder / OUTCOMES / f"{place.name}.json", {})) for place in places]
    keys = dict.fromkeys(key for job in jobs for key in job["settings"])
    differing = [key for key in keys if len({job["settings"].get(key) for job in jobs}) > 1]
    swept = read_json_or(folder / SWEPT, None) or differing
    for job in jobs:
        job["settings"] = {key: job["settings"].get(key) for key in swept}
    jobs.sort(key=lambda job: -1.0 if job["objective"] is None else job["objective"], reverse=True)
    settings, notes = _compared_settings(jobs)
    choice = bool(set(swept) - {"seed"})
    return {
        "folder": str(folder),
        "objective": OBJECTIVE,
        "stand_in": any(job["stand_in"] for job in jobs),
        "swept": swept,
        "short_names": short_names(swept),
        "best": settings[0] if choice and settings and settings[0]["compared"] is not None else None,
        "settings": settings,
        "notes": notes if choice else [],
        "jobs": jobs,
    }


def jobs_in(folder: Path) -> list[Path]:
    """The folders of the jobs in a sweep's."""
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return [place for place in places if (place / RECORD).is_file() or (place / ".hydra").is_dir()]


def _job(place: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """A job as `read_sweep` describes it."""
    record = read_record(place)
    if record is None:  # a job that got no further than Hydra's own files
        from pin_memory.runs.folder import RunFolder  # which most sweeps never need

        record = {"status": "failed" if outcome else "unfinished", "settings": {}, "overrides": RunFolder(place).overrides or []}
    finished = bool(record["settings"]) and is_finished(place, record)
    status = "finished" if finished else "failed" if "failed" in (record["status"], outcome.get("outcome")) else "unfinished"
    return {
        "name": place.name,
        "status": status,
        "outcome": outcome.get("outcome"),
        "settings": values_of(record["overrides"]),
        "objective": record.get("objective") if finished else None,
        "source_validation": (record.get("source_validation") or {}) if finished else {},
        "seconds": record.get("seconds"),
        "stand_in": bool(record.get("stand_in")),
        "error": outcome.get("error"),
        "exit_code": outcome.get("exit_code"),
    }


def _compared_settings(jobs: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Mean and spread over the seeds of each setting with a score, the best first, and sentences on how they were compared.

    Settings are compared by their means over the seeds that all of them have: seeds that only some have say as much about the seeds as
    about the settings. A setting that misses a seed is not compared (None), or it would win by losing its worst seed.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    scores: dict[str, dict[str, list[float]]] = {}  # by setting and seed
    for job in jobs:
        setting = json.dumps({key: value for key, value in job["settings"].items() if key != "seed"})
        groups.setdefault(setting, []).append(job)
        if job["objective"] is not None:
            scores.setdefault(setting, {}).setdefault(_seed(job), []).append(job["objective"])
    known = set(chain(*scores.values()))
    missing = {setting: known & {_seed(job) for job in groups[setting]} - found.keys() for setting, found in scores.items()}
    compared = [set(found) for setting, found in scores.items() if not missing[setting]]
    shared = set.intersection(*compared) if compared else set()
    rows = []
    for setting, found in scores.items():
        own = list(chain(*found.values()))
        common = [score for seed, values in found.items() if seed in shared or not shared for score in values]
        rows.append({
            "settings": json.loads(setting), "mean": statistics.fmean(own), "std": statistics.stdev(own) if len(own) > 1 else None,
            "compared": None if missing[setting] else statistics.fmean(common),
            "jobs": [job["name"] for job in groups[setting] if job["objective"] is not None],
        })  # fmt: skip
    rows.sort(key=lambda row: (-1.0 if row["compared"] is None else row["compared"], row["mean"]), reverse=True)
    return rows, _notes(missing, compared, shared)


def _seed(job: dict[str, Any]) -> str:
    """The seed of a job; "None" where the sweep does not change it."""
    return str(job["settings"].get("seed"))


def _notes(missing: Mapping[str, set[str]], compared: list[set[str]], shared: set[str]) -> list[str]:
    """What has to be known about the comparison of the settings, where it is not simply that of their means."""
    notes = [
        f"Not compared: {as_typed(json.loads(setting))}, which has no score with seed {_listed(seeds)} while others have one."
        for setting, seeds in missing.items()
        if seeds
    ]
    if any(seeds != shared for seeds in compared):
        notes.append(
            f"Settings were compared over the seeds that all of them have: {_listed(shared)}."
            if shared
            else "Settings were compared over different seeds, as none is common to all: the best may have had the easier ones."
        )
    return notes


def _listed(seeds: set[str]) -> str:
    """Seeds in the order of their numbers."""
    return ", ".join(sorted(seeds, key=lambda seed: (len(seed), seed)))


def as_typed(settings: Mapping[str, str | None]) -> str:
    """Settings as they are typed on a command line."""
    return " ".join(f"{key}={value}" for key, value in settings.items() if value is not None)


def values_of(overrides: Sequence[str]) -> dict[str, str]:
    """Value by key of a job's overrides, as text."""
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key where that is enough to tell them apart."""
    last = {key: re.split(r"[./]", key)[-1] for key in keys}
    return {key: last[key] if list(last.values()).count(last[key]) == 1 else key for key in keys}
