"""One job of a sweep: finished before, to be resumed, or new."""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pin_memory.runs.own_folder import CHECKPOINTS, begin_log, write_records
from pin_memory.training.sweeps.identity import Identity, identity
from pin_memory.utils.config import plain
from pin_memory.utils.errors import FULL_ERROR, ConfigurationError
from pin_memory.utils.files import write_text
from pin_memory.utils.locking import exclusive
from pin_memory.utils.safe_load import read_json_or

RECORD = "job.json"  # what a job leaves next to its run: settings, state, score
OUTCOMES = ".outcomes"  # folder in the sweep's: what became of each job since the sweep was started last
_NOT_COMPARED = ("logger", "hydra")  # where metrics go does not change them
_STAYS = (RECORD, ".lock", ".hydra", "log.txt")  # of this start, when an unfinished run is moved aside


def run_job(
    task: Callable[[DictConfig], dict[str, Any]], cfg: DictConfig, report_failure: Callable[[Exception], tuple[str, int]]
) -> float | None:
    """Run the task as a job of a sweep: skip it when it was finished before, resume it when it was begun, and survive its failure.

    The task trains and returns at least `source_validation`, the mean IoU by source, and `checkpoint`; `report_failure` shows the error
    of a failed job and returns its message and exit code. Returns the objective of the sweep, NaN for a job that failed.
    """
    folder = Path(cfg.paths.run)
    outcome: dict[str, Any] = {"outcome": "failed"}
    try:
        with exclusive(folder, lambda: _owner(folder)):
            score, outcome["outcome"] = _skip_or_run(task, cfg, folder, list(HydraConfig.get().overrides.task))
        return score
    except Exception as error:
        if os.environ.get(FULL_ERROR) == "1":
            raise
        message, exit_code = report_failure(error)
        outcome |= {"error": message, "exit_code": exit_code}
        return math.nan
    except BaseException:
        outcome["outcome"] = "interrupted"
        raise
    finally:
        with suppress(OSError):  # a full disk was reported already
            write_text(folder.parent / OUTCOMES / f"{folder.name}.json", json.dumps(outcome) + "\n")


def objective(result: dict[str, Any]) -> float | None:
    """What a sweep maximises: the mean over the sources of the mIoU on their validation splits, 0..1; None where no validation was made.

    Nothing of the targets in the result of the training is looked at.
    """
    scores = [score for score in (result.get("source_validation") or {}).values() if score is not None]
    return sum(scores) / len(scores) if scores else None


def read_record(folder: Path) -> dict[str, Any] | None:
    """The content of a job's `job.json`; None where there is none that can be read."""
    record = read_json_or(folder / RECORD, None)
    return record if isinstance(record, dict) and {"status", "settings", "overrides"} <= record.keys() else None


def identity_of(record: Mapping[str, Any]) -> Identity:
    """What makes the job of a record the same run as another."""
    return identity(record["settings"], record["overrides"])


def is_finished(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a job came to its end and its results are still intact."""
    if record["status"] != "finished" or not (folder / str(record.get("checkpoint"))).is_file():
        return False
    return not record["settings"].get("test", False) or "targets" in read_json_or(folder / "results.json", {})


def _skip_or_run(
    task: Callable[[DictConfig], dict[str, Any]], cfg: DictConfig, folder: Path, overrides: list[str]
) -> tuple[float | None, str]:
    """The objective, and whether it was there already ("skipped"; "same": under another name) or was made now ("finished")."""
    settings, earlier = _settings(cfg), read_record(folder)
    own = identity(settings, overrides)
    if earlier and is_finished(folder, earlier):
        from pin_memory.training.resume.folder import changed_settings  # imports torch, which `--help` does not need

        if own != identity_of(earlier) and (changed := changed_settings(earlier["settings"], settings, most=5)):
            raise ConfigurationError(
                f"{folder} holds the finished job of other settings ({'; '.join(changed)})."
                " It is left as it is; give this sweep another folder with hydra.sweep.dir=DIR."
            )
        print(f"Skipped: {folder} was finished before.")
        return earlier["objective"], "skipped"
    if equal := _equal_job(folder, own):
        place, other = equal
        print(f"Skipped: {folder} is the same run as {place}, which was finished before: their settings are equal.")
        about = {key: other.get(key) for key in ("objective", "source_validation", "stand_in")}
        _write(folder, {"status": "same", "same_as": place.name, "overrides": overrides, "settings": settings} | about)
        return other["objective"], "same"
    cfg = _resumed(cfg, folder, earlier, own)
    if not (folder / CHECKPOINTS).exists():
        write_records(cfg, folder)
    begin_log()
    started = time.monotonic()
    record = {"status": "running", "host": socket.gethostname(), "pid": os.getpid(), "overrides": overrides, "settings": settings}
    _write(folder, record)
    try:
        result = task(cfg)
    except BaseException as error:
        with suppress(OSError):
            _write(folder, record | {"status": "failed" if isinstance(error, Exception) else "interrupted"})
        raise
    score = objective(result)
    about = {key: result.get(key) for key in ("source_validation", "checkpoint", "stand_in")}
    _write(folder, record | {"status": "finished", "objective": score, "seconds": time.monotonic() - started} | about)
    return score, "finished"


def _equal_job(folder: Path, own: Identity) -> tuple[Path, dict[str, Any]] | None:
    """Another finished job of the sweep with the same settings and seed, with its record; None where there is none."""
    for place in sorted(folder.parent.iterdir()):
        record = read_record(place) if place != folder else None
        if record and is_finished(place, record) and identity_of(record) == own:
            return place, record
    return None


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """What decides a job's result, as plain containers; where it is written to does not."""
    compared = [str(key) for key in cfg if key not in _NOT_COMPARED]
    settings = plain(OmegaConf.masked_copy(cfg, compared))
    settings["paths"] = {"data": str(Path(cfg.paths.data).resolve())}
    return json.loads(json.dumps(settings, default=str))  # as it will be read back: tuples are lists there


def _resumed(cfg: DictConfig, folder: Path, earlier: dict[str, Any] | None, own: Identity) -> DictConfig:
    """The configuration that resumes an unfinished run from its last checkpoint, or `cfg` after what is left of it was moved aside."""
    if earlier is None or not (folder / CHECKPOINTS).exists():
        return cfg  # nothing was begun; or what lies there is no job, and training refuses the folder
    if identity_of(earlier) == own and any((folder / CHECKPOINTS).glob("*.ckpt")):
        print(f"Resuming the unfinished run in {folder}.")
        cfg = cfg.copy()
        OmegaConf.update(cfg, "resume", str(folder))
        return cfg
    aside = next(place for n in range(1, 1000) if not (place := folder / f"unfinished_{n}").exists())
    aside.mkdir()
    for path in list(folder.iterdir()):
        if path.name not in _STAYS and not path.name.startswith("unfinished_"):
            path.rename(aside / f"{'old_' if path.name == 'results.json' else ''}{path.name}")  # `compare` looks for results in all folders
    print(f"Starting anew; what was left of the unfinished run is in {aside}.")
    return cfg


def _owner(folder: Path) -> str:
    """The process that works on a job, as far as its record says."""
    record = read_record(folder) or {}
    return f"process {record.get('pid', '?')} on {record.get('host', '?')}"


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
