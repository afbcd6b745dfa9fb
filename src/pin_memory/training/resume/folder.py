"""From which checkpoint a run is resumed and whether it fits; and the run's folder, held by one process, with settings and provenance."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.callbacks.last_checkpoint import LAST, earlier_states
from pin_memory.domains import MultiSourceDataModule
from pin_memory.methods import Method
from pin_memory.runs import checkpoints
from pin_memory.runs.base_weights import check_same_base
from pin_memory.runs.folder import RunFolder, dotted
from pin_memory.runs.old_settings import current_settings
from pin_memory.runs.own_folder import CHECKPOINTS, HYDRA_FOLDER, write_records
from pin_memory.runs.provenance import provenance
from pin_memory.runs.results import RESULTS
from pin_memory.training.resume.command_line import AUTO
from pin_memory.utils.checkpoint_io import DamagedCheckpointError, load_intact
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import TEMPORARY, write_text
from pin_memory.utils.locking import exclusive
from pin_memory.utils.safe_load import read_json_or
from pin_memory.utils.signals import StopSignals

log = logging.getLogger(__name__)

_OWN_FOLDERS = (CHECKPOINTS, "panels", "tiles")  # that nobody else writes to
_NOT_COMPARED = ("resume", "paths", "logger", "callbacks")  # they do not change what is trained


class Resumption(NamedTuple):
    """What training starts from."""

    checkpoint: Path | None = None  # intact; None for a start from the beginning
    in_place: bool = False  # the run continues in its own folder, rather than a new one from its state
    content: Any = None  # of the checkpoint, as `load_intact` returned it


def find_resumption(resume: str | None, run: Path) -> Resumption:
    """The newest intact checkpoint that the setting `resume` means: of a run folder, a file, or "auto" for the folder `run` itself."""
    if not resume:
        return Resumption()
    path = run if resume == AUTO else Path(str(resume)).expanduser()
    if path.is_file():
        try:
            return Resumption(path, path.resolve().is_relative_to(run.resolve()), load_intact(path))
        except DamagedCheckpointError as error:
            raise ConfigurationError(
                f"resume={path} is damaged: {error}. Name the run's folder to resume from its newest intact checkpoint."
            ) from error
    in_place = path.resolve() == run.resolve()
    folder = path / CHECKPOINTS
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
    checkpoints.check_same_classes(earlier.label_space.names, data.outputs.names, path)
    check_same_base(earlier.base, method.base, path)
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


@contextmanager
def run_folder(cfg: DictConfig, start: Resumption, step: int) -> Iterator[None]:
    """Hold the folder of a run that starts or is resumed at iteration `step`; a stop signal ends the block with the right exit code."""
    run = Path(cfg.paths.run)
    with StopSignals(), exclusive(run) if is_first() else nullcontext():
        if is_first():
            try:
                (run / CHECKPOINTS).mkdir(parents=True, exist_ok=start.in_place)
            except FileExistsError as error:  # of another run, be it one that starts in the same second
                raise OutputError(f"{run} already holds a run. Start again, or name another folder with hydra.run.dir=DIR.") from error
            if start.in_place:
                _prepare(cfg, run, start, step)
            if cfg.network.backbone.get("pretrained", "by a backbone of the user's own") is None:
                print("The network starts from random weights (network.backbone.pretrained=null).")
            write_text(run / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            write_text(run / "provenance.json", json.dumps(provenance(), indent=2) + "\n")
        yield


def _prepare(cfg: DictConfig, run: Path, start: Resumption, step: int) -> None:
    """Remove what a kill has left in the folder of a resumed run, and report which settings differ from those on record."""
    for folder in (run, run / HYDRA_FOLDER, *(run / name for name in _OWN_FOLDERS)):
        for path in folder.glob(TEMPORARY):
            path.unlink(missing_ok=True)
    if start.checkpoint is None:
        log.info("%s was stopped before its first checkpoint: starting from the beginning.", run)
        (run / "metrics.csv").unlink(missing_ok=True)
    elif (results := run / RESULTS).is_file() and not 0 < cfg.trainer.max_steps <= step:
        results.replace(run / f"old_{RESULTS}")  # of fewer iterations; a run without results is one that is not finished
    before, now = current_settings(RunFolder(run).config), yaml.safe_load(OmegaConf.to_yaml(cfg, resolve=True))  # as the file was written
    # Neither where the data are nor what is written says something about the training.
    changed = changed_settings(before, now, 8, lambda key: key.partition(".")[0] not in _NOT_COMPARED and not key.endswith(".root"))
    if before and changed:
        log.info("Other settings than before: %s.", "; ".join(changed))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:  # a job of a sweep has its settings from the sweep
        write_records(cfg, run)


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], most: int, matters: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """The settings that differ between two nested dictionaries, as "key: old before, new now"; those beyond `most` are counted."""
    old, new = dotted(before), dotted(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and matters(key)]
    texts = [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in changed[:most]]
    return texts + ([f"and {len(changed) - most} more"] if len(changed) > most else [])
