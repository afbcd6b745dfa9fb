"""The W&B run that a resumed training continues: its id, and the files that its earlier parts have left."""

import logging
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

log = logging.getLogger(__name__)

RUN_ID = "wandb_id.txt"
"""Name of the file with the id of the W&B run, in a run's folder of checkpoints."""

_HEADER, _BLOCK, _FRAGMENT = 7, 32768, struct.Struct("<IHB")  # of the file, of LevelDB's log format
_FULL, _LAST = 1, 4  # kinds of a fragment that end a record


def earlier_run_id(resume: str | Path, run: Path, file_name: str = RUN_ID, service: str = "W&B") -> str | None:
    """The id of the run of W&B, or of another service, that a training resumes, or None where there is none.

    In a sweep only a job that resumes in its own folder (`run`) has one: jobs that start from one checkpoint are different continuations,
    which must not write into one W&B run.
    """
    path = Path(resume).expanduser()
    file = (path / "checkpoints" if path.is_dir() else path.parent) / file_name
    if is_sweep() and not file.resolve().is_relative_to(run.resolve()):
        log.info("%s: a new run for each job of the sweep, also where they resume from the same checkpoint.", service)
        return None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        log.info("%s: a new run, as there is no id of the earlier one in %s.", service, file)
        return None
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        log.warning("%s: a new run, as %s holds no id of a run.", service, file)
        return None
    return found


def earlier_parts(resume: str | Path, run_id: str) -> list[Path]:
    """The files of the W&B run that training resumes from, as far as they still lie in its folder."""
    return sorted(_run_folder(resume).glob(f"wandb/*run-*-{run_id}*/run-{run_id}.wandb"))


def waiting(parts: list[Path]) -> list[Path]:
    """Folders of offline parts that were not uploaded; `wandb sync` leaves a mark."""
    folders = [part.parent for part in parts if not part.with_name(f"{part.name}.synced").exists()]
    return [folder for folder in folders if folder.name.startswith("offline-")]


def next_step(parts: list[Path]) -> int:
    """The `_step` after the last row of the earlier parts; 0 where there are none."""
    return max((step + 1 for part in parts for step in _steps(part)), default=0)


def is_sweep() -> bool:
    """Whether this is a job of `--multirun`."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _run_folder(resume: str | Path) -> Path:
    """The run folder: given itself, or that of a checkpoint in its folder of checkpoints."""
    path = Path(resume).expanduser()
    return path if path.is_dir() else path.parent.parent


def _steps(file: Path) -> Iterator[int]:
    """The `_step` of each row of a file; what a crash has cut short at its end is left out."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at run time

    data, place, parts = file.read_bytes(), _HEADER, b""
    while place + _FRAGMENT.size <= len(data):
        if (left := _BLOCK - place % _BLOCK) < _FRAGMENT.size:
            place += left
            continue
        _, length, kind = _FRAGMENT.unpack_from(data, place)
        place += _FRAGMENT.size + length
        parts += data[place - length : place]
        if kind in (_FULL, _LAST):
            record = Record()
            try:
                record.ParseFromString(parts)
            except Exception:  # DecodeError of protobuf, a package that only W&B needs
                return
            parts = b""
            if record.WhichOneof("record_type") == "history":
                yield record.history.step.num
