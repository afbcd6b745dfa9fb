"""From which checkpoint a run is resumed, and whether it fits the settings."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from pin_memory.callbacks.last_checkpoint import LAST, earlier_states
from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.runs import checkpoints
from pin_memory.runs.results import RESULTS
from pin_memory.training.resume.command_line import AUTO
from pin_memory.utils.checkpoint_io import DamagedCheckpointError, load_intact
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import read_json_or

log = logging.getLogger(__name__)


class Resumption(NamedTuple):
    """What training starts from."""

    checkpoint: Path | None = None  # intact; None for a start from the beginning
    in_place: bool = False  # the run continues in its own folder, rather than a new one from its state
    content: Any = None  # of the checkpoint, as `load_intact` returned it


def find_resumption(resume: str | None, run: Path) -> Resumption:
    """The newest intact checkpoint that the setting `resume` means: of a run folder, a file, or "auto" for the folder `run` itself."""
    if not resume:
        return Resumption()
    path = run if resume == AUTO else Path(resume).expanduser()
    if path.is_file():
        try:
            return Resumption(path, path.resolve().is_relative_to(run.resolve()), load_intact(path))
        except DamagedCheckpointError as error:
            raise ConfigurationError(
                f"resume={path} is damaged: {error}. Name the run's folder to resume from its newest intact checkpoint."
            ) from error
    in_place = path.resolve() == run.resolve()
    folder = path / "checkpoints"
    states = [folder / LAST, *(state for state, _ in earlier_states(folder)), folder / "best.ckpt"]  # the newest first
    if states := [state for state in states if state.is_file()]:
        return _newest_intact(states, in_place)
    if in_place:
        return Resumption(None, folder.is_dir())
    return _newest_intact([checkpoints.find_checkpoint(path)], in_place)  # the first of which says what is wrong with the folder


def _newest_intact(states: list[Path], in_place: bool) -> Resumption:
    """The first checkpoint that is intact; those before it are reported."""
    faults: list[str] = []
    for path in states:
        try:
            found = Resumption(path, in_place, load_intact(path))
        except DamagedCheckpointError as error:
            faults.append(f"{path} ({error})")
            continue
        if faults:
            log.warning("Damaged: %s. Resuming from %s.", "; ".join(faults), path)
        return found
    raise ConfigurationError(
        f"No checkpoint of the run is intact: {'; '.join(faults)}. Restore one from a backup, or start anew in another folder."
    )


def check_resumption(cfg: DictConfig, start: Resumption, method: Method, data: MultiSourceDataModule) -> int:
    """Refuse a checkpoint that this training cannot be resumed from; the iterations that it has made. `method` keeps its weights."""
    path = start.checkpoint
    if path is None:
        return 0
    earlier = checkpoints.read_checkpoint(path, start.content)
    if earlier.converted:
        raise ConfigurationError(
            f"resume={path}: a converted checkpoint holds no state of training; it can be evaluated and used for predictions."
        )
    checkpoints.check_same_classes(earlier.label_space.names, data.label_space.names, path)
    untrained = {name: value.clone() for name, value in method.state_dict().items()}  # what is scored as a floor
    checkpoints.load_weights(method, earlier.state, path)
    method.load_state_dict(untrained)
    if earlier.sources != data.source_names:
        names = ", ".join(earlier.sources), ", ".join(data.source_names)
        raise ConfigurationError(f"resume={path}: trained on {names[0]}; this run has {names[1]}.")
    if 0 <= cfg.trainer.max_steps <= earlier.step and not start.in_place:
        raise ConfigurationError(f"resume={path} has made {earlier.step} steps already; set trainer.max_steps above that.")
    return earlier.step


def finished_results(cfg: DictConfig, run: Path, step: int) -> dict[str, Any] | None:
    """The results of a run that has nothing left to do; None while iterations are to be made, or results are missing or damaged."""
    if not (cfg.test and 0 < cfg.trainer.max_steps <= step):
        return None
    results = read_json_or(run / RESULTS, None)
    return results if isinstance(results, dict) and "targets" in results else None
