"""What came of a sweep, read from the folders of its jobs."""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pin_memory.errors import ConfigurationError
from pin_memory.sweep_job import OUTCOMES, RECORD, is_finished, read_record

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
        `error`. `settings`: mean and sample standard deviation of the objective for each setting over its seeds, the best first.
        `best`: its settings and mean, None where nothing but the seed differs. `stand_in`: whether drawn scenes were trained on.

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
    settings = _by_setting([job for job in jobs if job["objective"] is not None])
    return {
        "folder": str(folder),
        "objective": OBJECTIVE,
        "stand_in": any(job["stand_in"] for job in jobs),
        "swept": swept,
        "short_names": short_names(swept),
        "best": settings[0] if settings and set(swept) - {"seed"} else None,
        "settings": settings,
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


def _by_setting(jobs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each setting; those with the most seeds first, among them the highest mean."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault(json.dumps({key: value for key, value in job["settings"].items() if key != "seed"}), []).append(job)
    rows = []
    for key, members in groups.items():
        scores = [job["objective"] for job in members]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        rows.append({
            "settings": json.loads(key), "mean": statistics.fmean(scores), "std": spread, "jobs": [job["name"] for job in members],
        })  # fmt: skip
    return sorted(rows, key=lambda row: (len(row["jobs"]), row["mean"]), reverse=True)


def values_of(overrides: Sequence[str]) -> dict[str, str]:
    """Value by key of a job's overrides, as text."""
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def _saved_overrides(place: Path) -> list[str]:
    """Those that Hydra has written down, of a job that got no further."""
    with suppress(Exception):  # cut short when the job was killed
        return [str(override) for override in OmegaConf.load(place / ".hydra" / "overrides.yaml")]
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
        return json.loads(path.read_text(encoding="utf-8")) if path else default
    except (OSError, ValueError):
        return default
