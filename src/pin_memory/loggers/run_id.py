"""The id of a W&B run, kept beside the checkpoints, so that a resumed training goes on in the same W&B run."""

import logging
import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from pin_memory.utils.files import write_text

log = logging.getLogger(__name__)

RUN_ID = "wandb_id.txt"
"""Name of the file in a run's folder of checkpoints."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def earlier_run_id(resume: str | Path, run: Path) -> str | None:
    """The id of the W&B run that a training goes on in.

    Args:
        resume: A run folder or a checkpoint file, as the setting `resume` names it.
        run: The folder of the run that goes on.

    Returns:
        The id; None where there is none, and in a sweep unless a job goes on in its own folder: jobs that start from one checkpoint are
        different continuations, which must not write into one W&B run.
    """
    path = Path(resume).expanduser()
    file = (path / "checkpoints" if path.is_dir() else path.parent) / RUN_ID
    if _is_sweep() and not file.resolve().is_relative_to(run.resolve()):
        log.info("W&B: a new run for each job of the sweep, also where they go on from the same checkpoint.")
        return None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        log.info("W&B: a new run, as there is no id of the earlier one in %s.", file)
        return None
    if not _ID.fullmatch(found):
        log.warning("W&B: a new run, as %s holds no id of a run.", file)
        return None
    return found


def keep_run_id(run: Path, run_id: str) -> None:
    """Write the id beside the checkpoints of a run; without it only the resumption in W&B is lost, so a failure is told and passed over."""
    try:
        write_text(run / "checkpoints" / RUN_ID, f"{run_id}\n")
    except OSError as error:
        log.warning(
            "Cannot keep the id of the W&B run in %s: %s. A resumed training will start a new W&B run.", run, error.strerror or error
        )


def _is_sweep() -> bool:
    """Whether this is a job of `--multirun`."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
