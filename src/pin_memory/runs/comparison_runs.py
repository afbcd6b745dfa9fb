"""Finding runs on disk, with the settings that tell them apart."""

import glob
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pin_memory.runs.results import RESULTS, read_results
from pin_memory.utils.documents import check_yaml_file
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

SETTINGS = "settings.yaml"
"""Settings of the run that an evaluation judged, beside its results; a training run has them in `.hydra/config.yaml`."""
_NO_DIFFERENCE = (
    "seed", "name", "paths", "hydra", "callbacks", "logger", "resume", "test", "floors", "selection", "protocol", "test_statistics",
    "method.protocol", "method.test_statistics",
    "sweep", "loading.num_workers", "loading.max_bad_share", "trainer.accelerator", "trainer.log_every_n_steps", "trainer.default_root_dir",
    "trainer.enable_model_summary", "trainer.enable_progress_bar", "trainer.benchmark", "trainer.use_distributed_sampler",
)  # fmt: skip
"""Settings that are no part of what a run is compared as: told elsewhere (protocol, selection ...), or without effect on the scores."""
_TOLD = tuple(f"{name}." for name in _NO_DIFFERENCE)
_ONE_DEVICE = {"trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto", "trainer.sync_batchnorm": "auto"}
_ONE_DEVICE |= {"loading.on_bad_sample": "raise"}
"""What settings mean that do not name these, as older runs' and those of one device; several devices multiply the batch."""


def read_runs(patterns: str | Path | Sequence[str | Path], setting: str = "runs") -> list[dict[str, Any]]:
    """Read the results of runs.

    Args:
        patterns: Run folders, `results.json` files, folders with runs somewhere below them (sweeps), or globs of these.
        setting: Named in errors.

    Returns:
        The contents of each `results.json`, with its `folder`, its `experiment`, its `settings` (dotted keys) and `written`, when
        it was.

    Raises:
        ConfigurationError: A pattern leads to no results, or a file is damaged.
    """
    files: dict[Path, None] = {}
    for pattern in [patterns] if isinstance(patterns, str | Path) else patterns:
        files |= dict.fromkeys(path.resolve() for path in _results_of(str(pattern), setting))
    return [_read(path) for path in files]


def settings_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that its scores may depend on and that no other field tells."""
    settings = run.get("settings") or {}
    if settings:
        settings = _ONE_DEVICE | settings
        chosen = settings["trainer.devices"]
        settings["trainer.devices"] = len(chosen) if isinstance(chosen, list) else chosen  # how many, not which
        if "devices" in run:  # what `auto` came to
            settings["trainer.devices"] = run["devices"]
    return {key: value for key, value in settings.items() if not f"{key}.".startswith(_TOLD) and not _is_place_or_seed(key)}


def _is_place_or_seed(key: str) -> bool:
    """Where a data set lies, or a seed that follows the run's; that of drawn stand-ins decides what is judged."""
    return key.endswith(".root") or ("seed" in key.rpartition(".")[2] and "stand_in" not in key)


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    if not isinstance(settings, dict):
        return {prefix.rstrip("."): settings}
    return {key: value for name, part in settings.items() for key, value in flat(part, f"{prefix}{name}.").items()}


def _results_of(pattern: str, setting: str) -> list[Path]:
    """The files that a pattern stands for.

    Raises:
        ConfigurationError: There is none.
    """
    path = Path(pattern).expanduser()
    places = [path] if path.exists() else sorted(Path(found) for found in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute globs
    found: list[Path] = []
    for place in places:
        below = [place] if place.is_file() and place.name == RESULTS else []
        if place.is_dir():
            below = [place / RESULTS] if (place / RESULTS).is_file() else sorted(place.rglob(RESULTS))
            if not below:
                log.warning("%s holds no results.json (not finished, or not judged): left out.", place)
        found += below
    if not found:
        seen = f"{len(places)} files and folders, none of them with results" if places else "nothing"
        raise ConfigurationError(
            f"{setting}={pattern}: expected run folders with a results.json, which train and evaluate write; found {seen}"
            f" (looked from {Path.cwd()})."
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    """One run.

    Raises:
        ConfigurationError: The file is damaged or holds something else.
    """
    results = read_results(path)
    if missing := [key for key in ("mean_miou", "method") if key not in results]:
        raise ConfigurationError(f"{path} is no complete results file of this library: it has no {' and no '.join(missing)}.")
    settings = _settings(path.parent)
    experiment = results.get("experiment") or settings.get("name")
    label = results.get("label") or "/".join(path.parent.parts[-2:])
    more = {"label": label, "folder": str(path.parent), "experiment": experiment, "settings": settings, "written": path.stat().st_mtime}
    return {"seed": None, "protocol": "", **results, **more}


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run that was judged, as far as they are known."""
    for path in (folder / SETTINGS, folder / ".hydra" / "config.yaml"):
        try:
            check_yaml_file(path)
            found = OmegaConf.load(path)
        except (OSError, OmegaConfBaseException, ValueError, YAMLError):
            continue
        if isinstance(found, DictConfig) and "method" in found:
            return _resolved(found)
    return {}


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Settings with dotted keys; single values that follow from others are filled in.

    Hydra's file has them as `${...}`, a checkpoint has some of them as values. Parts that are elsewhere as a whole (`method.network`) stay
    references, so that nothing is named twice.
    """
    return {key: _value(cfg, key, value) for key, value in flat(OmegaConf.to_container(cfg, resolve=False)).items()}


def _value(cfg: DictConfig, key: str, value: Any) -> Any:
    if not isinstance(value, str) or "${" not in value or value == "${seed}" or f"{key}.".startswith(_TOLD):
        return value
    try:
        found = OmegaConf.select(cfg, key)
    except OmegaConfBaseException:  # of a resolver that only the run itself knows
        return value
    return value if isinstance(found, Container) else found
