"""What came of a sweep, read from the folders of its jobs."""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pin_memory.training.sweeps.job import OUTCOMES, RECORD, is_finished, read_record
from pin_memory.utils import documents
from pin_memory.utils.errors import ConfigurationError

OBJECTIVE = "mean over the sources of the mIoU on their validation splits"
SWEPT = ".swept.json"
"""File in a sweep's folder: the settings that it changes."""


def read_sweep(folder: str | Path) -> dict[str, Any]:
    """What came of a sweep, read from the folders of its jobs.

    Args:
        folder: The sweep's, `runs/<experiment>/sweeps/<sweep>`.

    Returns:
        `jobs`: a dictionary each, the best score first: `name`, `status` (finished, failed, unfinished), `outcome` at the last start
        (finished, skipped, failed, ...), `settings` that differ (text by key), `objective` in 0..1, `source_validation`, `seconds`,
        `error`. `settings`: mean and sample standard deviation of the objective for each setting over its seeds, and what settings are
        compared by (`compared`, see `_by_setting`), the best first. `best`: the first of them, None where nothing but the seed differs or
        none can be compared. `notes`: sentences on the comparison. `stand_in`: whether drawn scenes were trained on.

    Raises:
        ConfigurationError: There is no sweep in the folder.
    """
    folder = Path(folder)
    outcomes = {path.stem: path for path in (folder / OUTCOMES).glob("*.json")}
    places = jobs_in(folder)
    if not places:
        raise ConfigurationError(f"{folder}: expected the folder of a sweep (runs/<experiment>/sweeps/<sweep>), found no jobs in it.")
    jobs = [_job(place, read_json(outcomes.get(place.name), {})) for place in places]
    swept = read_json(folder / SWEPT, None) or _differing([job["settings"] for job in jobs])
    for job in jobs:
        job["settings"] = {key: job["settings"].get(key) for key in swept}
    jobs.sort(key=lambda job: -1.0 if job["objective"] is None else job["objective"], reverse=True)
    settings, notes = _by_setting(jobs)
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
    """A row of the table."""
    record = read_record(place) or {"status": "failed" if outcome else "unfinished", "settings": {}, "overrides": _saved_overrides(place)}
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


def _by_setting(jobs: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Mean and spread over the seeds of each setting with a score, the best first, and sentences on how they were compared.

    Settings are compared by their means over the seeds that all of them have (`compared`): seeds that only some have say as much about the
    seeds as about the settings. Without such a seed they are compared by their means over all their own. A setting that has lost a seed,
    because its job failed or is unfinished, while another has it, is not compared (None), or it would win by losing its worst seed.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault(json.dumps({key: value for key, value in job["settings"].items() if key != "seed"}), []).append(job)
    scores = {key: _by_seed(members) for key, members in groups.items() if any(job["objective"] is not None for job in members)}
    known = {seed for found in scores.values() for seed in found}
    lost = {key: known & {str(job["settings"].get("seed")) for job in groups[key]} - found.keys() for key, found in scores.items()}
    compared = [set(found) for key, found in scores.items() if not lost[key]]
    shared = set.intersection(*compared) if compared else set()
    rows = []
    for key, found in scores.items():
        own = [score for values in found.values() for score in values]
        over = [score for seed, values in found.items() if seed in shared or not shared for score in values]
        rows.append({
            "settings": json.loads(key), "mean": statistics.fmean(own), "std": statistics.stdev(own) if len(own) > 1 else None,
            "compared": None if lost[key] else statistics.fmean(over),
            "jobs": [job["name"] for job in groups[key] if job["objective"] is not None],
        })  # fmt: skip
    rows.sort(key=lambda row: (-1.0 if row["compared"] is None else row["compared"], row["mean"]), reverse=True)
    return rows, _notes(lost, compared, shared)


def _by_seed(jobs: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """The scores that are there by seed; all under one where the seed was not changed."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        if job["objective"] is not None:
            found.setdefault(str(job["settings"].get("seed")), []).append(job["objective"])
    return found


def _notes(lost: dict[str, set[str]], compared: list[set[str]], shared: set[str]) -> list[str]:
    """What has to be known about the comparison of the settings, where it is not simply that of their means."""
    notes = [
        f"Not compared: {words_of(json.loads(key))}, which has no score with seed {_listed(seeds)} while others have one."
        for key, seeds in lost.items()
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
    return ", ".join(sorted(seeds, key=lambda seed: (len(seed), seed)))


def words_of(settings: dict[str, str | None]) -> str:
    """Settings as they are typed."""
    return " ".join(f"{key}={value}" for key, value in settings.items() if value is not None)


def values_of(overrides: Sequence[str]) -> dict[str, str]:
    """Value by key of a job's overrides, as text."""
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def _saved_overrides(place: Path) -> list[str]:
    """Those that Hydra has written down, of a job that got no further."""
    with suppress(Exception):  # cut short when the job was killed
        return [str(override) for override in documents.read_yaml(place / ".hydra" / "overrides.yaml")]
    return []


def _differing(settings: list[dict[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for job in settings for key in job)
    return [key for key in keys if len({job.get(key) for job in settings}) > 1]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key where that is enough to tell them apart."""
    last = {key: re.split(r"[./]", key)[-1] for key in keys}
    return {key: last[key] if list(last.values()).count(last[key]) == 1 else key for key in keys}


def read_json(path: Path | None, default: Any) -> Any:
    """The content of a JSON file; `default` where there is none that can be read."""
    try:
        return documents.read_json(path) if path else default
    except (OSError, ValueError):
        return default
