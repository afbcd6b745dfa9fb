"""TensorBoard and MLflow through Lightning's loggers: how their runs begin and go on, and what they are told besides metrics."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from pin_memory.loggers.summary import notes_of, scores_of
from pin_memory.loggers.wandb_about import group_of, run_name, settings_of, tags_of
from pin_memory.loggers.wandb_parts import earlier_run_id
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import write_text
from pin_memory.utils.trackers import GuardedMLFlowLogger, log_text, trackers

MLFLOW_ID = "mlflow_id.txt"
"""Name of the file with the id of the MLflow run, in a run's folder of checkpoints."""

_AT_HOME = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_NOT_TOLD = {"mlflow.source.name": "pin_memory.train", "mlflow.user": ""}  # in place of the command and the user's name
_NOT_TOLD |= {f"mlflow.source.git.{name}": "" for name in ("commit", "branch", "repoURL")}


def tensorboard_logger(save_dir: str | Path) -> TensorBoardLogger | None:
    """Log into files of TensorBoard below `<save_dir>/tensorboard`; a training that resumes in its folder adds to them.

    Returns:
        The logger on the first process, None on the others.

    Raises:
        ConfigurationError: The package is not installed.
    """
    _require("tensorboard")
    return TensorBoardLogger(save_dir, name="", version="tensorboard", default_hp_metric=False) if is_first() else None


def mlflow_logger(
    save_dir: str | Path,
    tracking_uri: str | None = None,
    experiment: str = "pin_memory",
    resume: str | Path | None = None,
    artifact_location: str | None = None,
) -> GuardedMLFlowLogger | None:
    """Log into a run of MLflow, which `log_settings` begins; nothing is sent to any other place, MLflow's telemetry included.

    Args:
        save_dir: The run folder; the id of the MLflow run is kept in its `checkpoints/`.
        tracking_uri: A server such as http://localhost:5000, or a database such as sqlite:///mlflow.db; None: MLFLOW_TRACKING_URI.
        experiment: MLflow's experiment that the run belongs to; made where there is none.
        resume: The run folder or checkpoint that training resumes from: the same MLflow run is continued where its id is found there.
        artifact_location: Where an experiment that is made keeps pictures; None: where MLflow does.

    Returns:
        The logger on the first process, None on the others.

    Raises:
        ConfigurationError: The package is not installed, there is no address, or MLflow does not know its kind.
    """
    _require("mlflow")
    for name, value in _AT_HOME.items():
        os.environ.setdefault(name, value)
    if not (address := tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")):
        raise ConfigurationError(
            "logger=mlflow has no address. Set logger.mlflow.tracking_uri (or MLFLOW_TRACKING_URI) to a server, such as"
            " http://localhost:5000, or to a file on this machine: sqlite:///mlflow.db"
        )
    if not is_first():
        return None
    run_id = earlier_run_id(resume, Path(save_dir), MLFLOW_ID, "MLflow") if resume else None
    options = {"tracking_uri": address, "experiment_name": experiment, "run_id": run_id, "artifact_location": artifact_location}
    try:
        return GuardedMLFlowLogger(**options, tags=dict(_NOT_TOLD))
    except Exception as error:  # each kind of store has its own
        raise ConfigurationError(_refusal(address, error)) from error


def log_settings(loggers: Iterable[Logger], folder: Path, method: str, network: str, seed: int | None, stand_in: bool) -> None:
    """Begin or continue the runs of TensorBoard and MLflow, and log the settings as one flat dictionary of dotted names.

    Args:
        loggers: All of the training.
        folder: The run folder, with `config.yaml` and `provenance.json`.
        method: Name of the method's class.
        network: Name of the network.
        seed: Of the training.
        stand_in: Whether the scenes are drawn.

    Raises:
        ConfigurationError: MLflow's server or database does not take the run, or does not know the one that is continued.
    """
    chosen = trackers(loggers)
    if not chosen:
        return
    settings = settings_of(folder) | {"method_name": method, "network_name": network}
    values = dict(_flat(settings))
    for logger in chosen:
        if isinstance(logger, TensorBoardLogger):
            _tensorboard_settings(logger, values)
            continue
        try:
            known = logger.experiment.get_run(logger.run_id).data.params  # of a run that is continued; none can be changed
            new = {name: value for key, value in values.items() if (name := re.sub(r"[^\w/. :-]", "_", key)) not in known}
            logger.log_hyperparams(new)
            tags = {"mlflow.runName": run_name(method, seed), "tags": ", ".join(tags_of(method, seed, stand_in))}
            for key, text in (tags | {"group": group_of(None, settings) or ""}).items():
                logger.experiment.set_tag(logger.run_id, key, text)
            logger.experiment.update_run(logger.run_id, status="RUNNING")
        except Exception as error:
            raise ConfigurationError(_refusal(str(logger._tracking_uri), error)) from error
        write_text(folder / "checkpoints" / MLFLOW_ID, f"{logger.run_id}\n")


def log_scores(loggers: Iterable[Logger], results: Mapping[str, Any], step: int) -> None:
    """Log the scores on the targets and how they were made, from the content of `results.json`, after `step` iterations."""
    for logger in trackers(loggers):
        logger.log_metrics(scores_of(results), step)
        for key, text in notes_of(results).items():
            log_text(logger, key, text)
        logger.save()


def _tensorboard_settings(logger: TensorBoardLogger, values: Mapping[str, Any]) -> None:
    """Give the settings to the page of hyper-parameters, with the names of the scores that stand next to them."""
    from torch.utils.tensorboard.summary import hparams

    logger.log_hyperparams(dict(values))  # which writes a file alone, as Lightning would log a score of its own
    for part in hparams(dict(values), dict.fromkeys(("val/miou", "test/mean_miou"))):
        logger.experiment.file_writer.add_summary(part)


def _flat(settings: Mapping[Any, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested settings by their dotted names; what is neither number nor text becomes text."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value if isinstance(value, bool | int | float | str) else str(value)


def _require(name: str) -> None:
    """Refuse a logger whose package is not installed."""
    if find_spec(name) is None:
        raise ConfigurationError(f"logger={name} needs the package {name}: pip install -e '.[{name}]' in a clone, or choose logger=csv.")


def _refusal(address: str, error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    return (
        f"MLflow at {address} takes no run ({text}). Check logger.mlflow.tracking_uri and that the server answers; where a run of"
        " another address is resumed, logger.mlflow.resume=null begins a new one."
    )
