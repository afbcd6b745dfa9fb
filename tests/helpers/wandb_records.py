"""Reads the file of an offline W&B run: records of W&B's own protocol in LevelDB's log format."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_HEADER, _BLOCK = 7, 32768
_FULL, _LAST = 1, 4  # kinds of a fragment that end a record


class OfflineRun(NamedTuple):
    """What was logged.

    Attributes:
        id: The run's id.
        group: Its group.
        job_type: Its job type.
        tags: Its tags.
        project: Its project.
        config: Settings by key.
        history: Logged values by name, in the order they came; nested names joined with a slash.
        summary: Last values by name.
        folder: Where the media lie.
        sweep_id: The sweep it belongs to.
        resume: Whether `wandb sync` appends it to the run of its id.
        entity: Who it belongs to.
        name: What it is called.
    """

    id: str
    group: str
    job_type: str
    tags: list[str]
    project: str
    config: dict[str, Any]
    history: dict[str, list[Any]]
    summary: dict[str, Any]
    folder: Path
    sweep_id: str = ""
    resume: bool = False
    entity: str = ""
    name: str = ""


def read_offline_run(run: Path) -> OfflineRun:
    """The one offline run in the `wandb` folder of a run folder."""
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    return read_file(file)


def read_parts(run: Path) -> list[OfflineRun]:
    """All runs in the `wandb` folder of a run folder, online ones, too, in the order in which they were started."""
    return [read_file(file) for file in sorted(run.glob("wandb/*run-*/*.wandb"), key=lambda file: file.parent.name.split("run-")[1])]


def read_file(file: Path) -> OfflineRun:
    """What was logged into a file."""
    from wandb.proto.wandb_internal_pb2 import RunRecord

    about = RunRecord()  # also of a run that never started
    config: dict[str, Any] = {}
    history: dict[str, list[Any]] = {}
    summary: dict[str, Any] = {}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            about = record.run
            config |= {_key(item): json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            config |= {_key(item): json.loads(item.value_json) for item in record.config.update}
        elif kind == "summary":
            summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "history":
            for item in record.history.item:
                history.setdefault(_key(item), []).append(json.loads(item.value_json))
    return OfflineRun(
        about.run_id,
        about.run_group,
        about.job_type,
        list(about.tags),
        about.project,
        config,
        history,
        summary,
        file.parent / "files",
        about.sweep_id,
        bool(about.resume),
        about.entity,
        about.display_name,
    )


def records(file: Path) -> Iterator[Any]:
    """The records of a file of W&B."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), _HEADER, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if (left := _BLOCK - place % _BLOCK) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def _key(item: Any) -> str:
    return "/".join(item.nested_key) if item.nested_key else item.key
