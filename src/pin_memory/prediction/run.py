"""A run of `predict`: find the inputs, load the network, compare with what is there, segment the rest."""

import io
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from pin_memory.inference import Predictor
from pin_memory.inference.protocols import recorded_name
from pin_memory.prediction.images import Outcome, existing_results, predict_items
from pin_memory.prediction.inputs import RECORD, Inputs, find_inputs, read_list
from pin_memory.prediction.load import find_model, load_model
from pin_memory.prediction.outputs import Saving
from pin_memory.runs.own_folder import refuse_run
from pin_memory.runs.support import support_digest
from pin_memory.utils.devices import choose_device
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError
from pin_memory.utils.files import decode_text, report_write_errors, sha256_of, write_text
from pin_memory.utils.names import lines_of
from pin_memory.utils.safe_load import read_json
from pin_memory.utils.validation import Count, check_values


def predict(cfg: DictConfig) -> None:
    """Segment the images of `cfg.input`, print what was made, and fail at the end if some could not be read."""
    output = Path(str(cfg.output)).expanduser()
    refuse_run(output)
    inputs = _inputs(cfg, output)
    check_values("", {"batch_size": Count, "workers": Count}, {"batch_size": cfg.batch_size, "workers": cfg.workers})
    kinds: Any = (cfg.save,) if isinstance(cfg.save, str) else None if cfg.save is None else tuple(cfg.save)
    saving = Saving(kinds, cfg.ids, cfg.alpha)
    path = find_model(Path(str(cfg.checkpoint)))
    model = _load(cfg, path)
    saving.check_classes(model.label_space)
    prepare_output(output)  # not before: a mistake leaves no folder behind
    settings = {  # what the results depend on
        "checkpoint": str(path),
        "digest": sha256_of(path),
        "protocol": recorded_name(model.protocol),
        "protocol_settings": model.protocol.settings,
        "statistics": str(model.statistics),
        "classes": list(model.label_space.names),
        "input": str(inputs.base.resolve()),
        "ids": saving.ids,
        "alpha": saving.alpha,
    }
    if cfg.support is not None:
        settings["support"] = support_digest(str(cfg.support))
    record = open_record(output, settings, cfg.overwrite, existing_results(inputs.items, output, saving))
    saving = replace(saving, since=record.stat().st_mtime_ns)
    outcome = predict_items(model, inputs.items, output, saving, cfg.batch_size, cfg.workers)
    print(_summary(outcome, output))
    if outcome.unreadable:
        raise DataError(
            f"{len(outcome.unreadable)} of {len(inputs.items)} files could not be read, the others are in {output}:\n"
            + "\n".join(f"  {line}" for line in outcome.unreadable)
        )


def prepare_output(output: Path) -> None:
    """Make the output folder and try whether it can be written to."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(f"output={output}: cannot write to this folder: {error.strerror or error}. Choose another one.") from error


def _inputs(cfg: DictConfig, output: Path) -> Inputs:
    """What is to be segmented; `-` stands for a list on stdin."""
    if cfg.input == "-":
        return find_inputs(read_list(_stdin()), output)
    return find_inputs([str(path) for path in cfg.input] if isinstance(cfg.input, ListConfig) else str(cfg.input), output)


def _stdin() -> Sequence[str]:
    """The lines on stdin, in whichever encoding they were written."""
    try:  # a program of its own may have put another stream there
        return lines_of(decode_text(sys.stdin.buffer.read()) if isinstance(sys.stdin, io.TextIOWrapper) else sys.stdin.read())
    except ValueError as error:
        raise DataError(f"input=-: the list on stdin cannot be read: {error}") from error


def _load(cfg: DictConfig, path: Path) -> Predictor:
    protocol = instantiate(cfg.protocol, _convert_="all") if cfg.get("protocol") else None
    model = load_model(path, choose_device(cfg.device), list(cfg.trust), protocol, cfg.support, cfg.pretrained)
    if model.statistics.policy == "batch" and cfg.batch_size > 1:
        raise ConfigurationError(
            f"batch_size={cfg.batch_size}: this run's batch norm normalises by the images that are predicted together (test_statistics="
            "batch), so a prediction would depend on its neighbours in the list. Set batch_size=1: each image by itself."
        )
    return model


def _summary(outcome: Outcome, output: Path) -> str:
    """Numbers of images and videos that were made, and of those that were there already."""
    counts = {kind: sum(item.is_video == is_video for item in outcome.made) for kind, is_video in (("image", False), ("video", True))}
    made = " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
    skipped = f"; {len(outcome.skipped)} were there already (overwrite=true makes them again)" if outcome.skipped else ""
    return f"Segmented {made or 'nothing'} into {output}{skipped}"


def open_record(output: Path, settings: Mapping[str, Any], overwrite: bool = False, existing: Iterable[Path] = ()) -> Path:
    """Resume an output folder, or begin it, and return its record; results that are not older than it need not be made again.

    Refuses, unless `overwrite` is set, a folder with results of other settings, and one without a record in which results would replace
    `existing` files: nobody knows whose they are.
    """
    path = output / RECORD
    requested = json.loads(json.dumps(settings))
    if not overwrite and path.is_file():
        _check(path, requested)
        return path
    if not overwrite and (file := next(iter(existing), None)):
        raise ConfigurationError(
            f"{file} exists, and no {RECORD} in {output} says that a prediction made it; a result would replace it. Choose another output"
            " folder, or set overwrite=true to replace it and all others that have a result's name."
        )
    with report_write_errors(path):
        write_text(path, json.dumps(requested, indent=2, ensure_ascii=False) + "\n")
    return path


def _check(path: Path, requested: Mapping[str, Any]) -> None:
    """Compare the requested settings with those of the record."""
    try:
        found = read_json(path)
        # The path of the checkpoint is for people to read; the digest of the file decides.
        differing = [key for key in requested if key != "checkpoint" and found.get(key) != requested[key]]
    except PermissionError:  # which says nothing of the file
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path} is damaged ({error}). Set overwrite=true to segment everything again.") from error
    if differing:
        lines = "\n".join(f"  {key}: {_shown(found, key)}, now {_shown(requested, key)}" for key in differing)
        raise ConfigurationError(
            f"{path.parent} holds results of other settings, which would be mixed with the new ones:\n{lines}\n"
            "Choose another output folder, or set overwrite=true to make everything in it again."
        )


def _shown(settings: Mapping[str, Any], key: str) -> str:
    """A setting in a message; of a digest the file and its first digits."""
    value = settings.get(key)
    return f"{settings.get('checkpoint')} ({value[:12]})" if key == "digest" and isinstance(value, str) else str(value)
