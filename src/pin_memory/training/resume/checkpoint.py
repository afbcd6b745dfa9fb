"""Going on with a run: from which checkpoint, in which folder, and whether it can be."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from pin_memory.callbacks.last_checkpoint import LAST, earlier_states
from pin_memory.methods import Method
from pin_memory.runs import checkpoints
from pin_memory.runs.checkpoints import check_same_classes
from pin_memory.runs.results import RESULTS
from pin_memory.training.resume.command_line import AUTO
from pin_memory.training.resume.training_state import check_training_state
from pin_memory.utils.checkpoint_io import damage
from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.untrusted import load_weights_only

log = logging.getLogger(__name__)


class Resumption(NamedTuple):
    """What training goes on from.

    Attributes:
        checkpoint: Whole; None for a run that was stopped before its first one, which starts from the beginning.
        in_place: The run goes on in its own folder, rather than a new one from its state.
    """

    checkpoint: Path | None
    in_place: bool


def find_resumption(resume: str | None, run: Path) -> Resumption | None:
    """Where training is to go on, as the setting `resume` says.

    Args:
        resume: A run folder, a checkpoint file, "auto" for the folder `run` itself, or None.
        run: The folder of the run that is about to start.

    Returns:
        The newest whole checkpoint; None where there is nothing to go on from and nothing was asked for.

    Raises:
        ConfigurationError: There is no such run or file, or none of its checkpoints is whole.
    """
    if not resume:
        return None
    path = run if resume == AUTO else Path(resume).expanduser()
    if path.is_file():
        if fault := damage(path):
            raise ConfigurationError(f"resume={path} is damaged: {fault}. Name the run's folder to go on from its newest whole checkpoint.")
        return Resumption(path, path.resolve().is_relative_to(run.resolve()))
    in_place = path.resolve() == run.resolve()
    states = list(_states(path / "checkpoints"))
    if states:
        return Resumption(_newest_whole(states), in_place)
    if in_place:
        return Resumption(None, True) if (path / "checkpoints").is_dir() else None
    return Resumption(checkpoints.find_checkpoint(path), in_place)  # which says what is wrong with it


def _states(folder: Path) -> list[Path]:
    """The checkpoints of a run that training can go on from, the newest first; the best one is a whole state, too."""
    found = [folder / LAST, *(path for path, _ in earlier_states(folder)), folder / "best.ckpt"]
    return [path for path in found if path.is_file()]


def _newest_whole(states: list[Path]) -> Path:
    """The first that is whole; those before it are told.

    Raises:
        ConfigurationError: None is.
    """
    faults: list[str] = []
    for path in states:
        fault = damage(path)
        if fault is None:
            if faults:
                log.warning("Damaged: %s. Going on from %s.", "; ".join(faults), path)
            return path
        faults.append(f"{path} ({fault})")
    raise ConfigurationError(
        f"No checkpoint of the run is whole: {'; '.join(faults)}. Restore one from a backup, or start anew in another folder."
    )


def check_resumption(cfg: DictConfig, found: Resumption, method: Method, sources: list[str], classes: Sequence[str]) -> int:
    """Refuse a checkpoint that training cannot go on from.

    Args:
        cfg: The composed configuration.
        found: With a checkpoint.
        method: As it will be trained; its weights stay as they are.
        sources: Names of the source domains.
        classes: What the train ids of their labels stand for.

    Returns:
        Iterations that the checkpoint has made.

    Raises:
        ConfigurationError: Another method, network or source, other classes, a state of training that is damaged, or no step left to make
            in a new run.
    """
    checkpoint, max_steps = found.checkpoint, cfg.trainer.max_steps
    assert checkpoint is not None
    earlier = checkpoints.read_checkpoint(checkpoint)
    if earlier.converted:
        raise ConfigurationError(
            f"resume={checkpoint}: a converted checkpoint holds no state to train on from; it can be evaluated and predicted with."
        )
    check_same_classes(earlier.label_space.names, classes, checkpoint)
    untrained = {name: value.clone() for name, value in method.state_dict().items()}  # what is scored as a floor
    checkpoints.load_weights(method, earlier.state, checkpoint)
    method.load_state_dict(untrained)
    if earlier.sources != sources:
        raise ConfigurationError(f"resume={checkpoint}: trained on {', '.join(earlier.sources)}; this run has {', '.join(sources)}.")
    check_training_state(load_weights_only(checkpoint), list(method.network.parameters()), checkpoint)
    if 0 <= max_steps <= earlier.step and not found.in_place:
        raise ConfigurationError(f"resume={checkpoint} has made {earlier.step} steps already; set trainer.max_steps above that.")
    return earlier.step


def finished_results(cfg: DictConfig, run: Path, step: int) -> dict[str, Any] | None:
    """The results of a run that has nothing left to do.

    Args:
        cfg: The composed configuration.
        run: The run folder.
        step: Iterations made.

    Returns:
        The content of `results.json`; None while iterations are to be made, or the results are missing or damaged.
    """
    if not (cfg.test and 0 < cfg.trainer.max_steps <= step):
        return None
    try:
        results = read_json(run / RESULTS)
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and "targets" in results else None
