"""What came of a sweep, read from the folders of its jobs."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pin_memory.training.sweeps.choice import compared_settings
from pin_memory.training.sweeps.identity import is_averaged, value_of
from pin_memory.training.sweeps.job import OUTCOMES, RECORD, identity_of, is_finished, read_record
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import read_json_or

OBJECTIVE = "mean over the sources of the mIoU on their validation splits"
SWEPT = ".swept.json"  # file in a sweep's folder: the settings that it changes
_INTERNAL = ("recorded", "identity")  # parts of a job that only its reading needs


def read_sweep(folder: str | Path) -> dict[str, Any]:
    """What came of a sweep, read from the folders of its jobs.

    Args:
        folder: The sweep's, `runs/<experiment>/sweeps/<sweep>`.

    Returns:
        `jobs`: a dictionary each, the best score first: `name`, `status` (finished, failed, unfinished; same: its settings and seed are
        those of the job `same_as`, which counts for both), `outcome` at the last start (finished, skipped, same, failed, ...), `settings`
        that differ (text by key), `objective` in 0..1, `source_validation`, `seconds`, `error`. `averaged`: those of the `swept` settings
        that are never chosen, such as seed and target. `settings`: mean and sample standard deviation of the objective for each setting
        over its seeds, and what settings are compared by (`compared`, the mean over the seeds that all have), the best first. `best`: the
        first of them, None where there is nothing to choose or none can be compared. `notes`: sentences on the comparison. `stand_in`:
        whether drawn scenes were trained on.

    Raises:
        ConfigurationError: There is no sweep in the folder.
    """
    folder = Path(folder)
    swept, jobs = _read_jobs(folder)
    if not jobs:
        raise ConfigurationError(f"{folder}: expected the folder of a sweep (runs/<experiment>/sweeps/<sweep>), found no jobs in it.")
    _mark_same(jobs)
    averaged = [key for key in swept if _is_never_chosen(key, jobs)]
    settings, notes = compared_settings([job for job in jobs if job["status"] != "same"], averaged)
    choice = bool(set(swept) - set(averaged))
    return {
        "folder": str(folder),
        "objective": OBJECTIVE,
        "stand_in": any(job["stand_in"] for job in jobs),
        "swept": swept,
        "averaged": averaged,
        "short_names": short_names(swept),
        "best": settings[0] if choice and settings and settings[0]["compared"] is not None else None,
        "settings": settings,
        "notes": notes if choice else [],
        "jobs": [{key: value for key, value in job.items() if key not in _INTERNAL} for job in jobs],
    }


def _read_jobs(folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The settings that a sweep changes, and its jobs with their values, the best first."""
    jobs = [_job(place, read_json_or(folder / OUTCOMES / f"{place.name}.json", {})) for place in jobs_in(folder)]
    keys = dict.fromkeys(key for job in jobs for key in job["settings"])
    differing = [key for key in keys if len({job["settings"].get(key) for job in jobs}) > 1]
    swept = read_json_or(folder / SWEPT, None) or differing
    for job in jobs:
        job["settings"] = {key: job["settings"].get(key) or value_of(key, job["recorded"]) for key in swept}
    jobs.sort(key=lambda job: (-1.0 if job["objective"] is None else job["objective"], job["status"] == "finished"), reverse=True)
    return swept, jobs


def _mark_same(jobs: Iterable[dict[str, Any]]) -> None:
    """Let each run count once, however many jobs are it: mark those whose training another one made that is finished."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    for job in jobs:
        own = job["identity"]
        first = counted.setdefault(own[:2], job)
        if first is not job and first["status"] == "finished" and (job["status"] == "finished" or own == first["identity"]):
            job |= {"status": "same", "same_as": first["name"]}


def _is_never_chosen(key: str, jobs: Sequence[dict[str, Any]]) -> bool:
    """Whether a swept setting is averaged over, as the seed: another value leaves everything else about the training as it is."""
    for job in jobs:
        if (averaged := is_averaged(key, job["recorded"])) is not None:
            return averaged
    values: dict[str, set[str]] = {}  # of a group, in the jobs of one setting
    for job in jobs:
        values.setdefault(job["identity"].setting, set()).add(str(job["settings"][key]))
    return any(len(texts - {"None"}) > 1 for texts in values.values())


def jobs_in(folder: Path) -> list[Path]:
    """The folders of the jobs in a sweep's."""
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return [place for place in places if ((place / RECORD).is_file() or (place / ".hydra").is_dir()) and place.name != OUTCOMES]


def _job(place: Path, outcome: dict[str, Any]) -> dict[str, Any]:
    """A job as `read_sweep` describes it."""
    record = read_record(place)
    if record is None:  # a job that got no further than Hydra's own files
        from pin_memory.runs.folder import RunFolder  # which most sweeps never need

        record = {"status": "failed" if outcome else "unfinished", "settings": {}, "overrides": RunFolder(place).overrides or []}
    finished = bool(record["settings"]) and is_finished(place, record)
    status = "finished" if finished else "failed" if "failed" in (record["status"], outcome.get("outcome")) else "unfinished"
    return {
        "recorded": record["settings"],
        "identity": identity_of(record),
        "name": place.name,
        "status": status,
        "same_as": None,
        "outcome": outcome.get("outcome"),
        "settings": values_of(record["overrides"]),
        "objective": record.get("objective") if finished else None,
        "source_validation": (record.get("source_validation") or {}) if finished else {},
        "seconds": record.get("seconds"),
        "stand_in": bool(record.get("stand_in")),
        "error": outcome.get("error"),
        "exit_code": outcome.get("exit_code"),
    }


def values_of(overrides: Sequence[str]) -> dict[str, str]:
    """Value by key of a job's overrides, as text without the quotes around it."""
    values = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    return {key: value[1:-1] if re.fullmatch(r"'[^']*'|\"[^\"]*\"", value) else value for key, value in values.items()}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key where that is enough to tell them apart."""
    last = {key: re.split(r"[./]", key)[-1] for key in keys}
    return {key: last[key] if list(last.values()).count(last[key]) == 1 else key for key in keys}
