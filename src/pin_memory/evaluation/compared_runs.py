"""Runs to compare: found on disk, with what they are named by and the settings that tell them apart."""

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pin_memory.runs.folder import NO_EFFECT, RunFolder
from pin_memory.runs.results import RESULTS, Results
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

FACTS = ("experiment", "method", "variant", "network", "sources", "protocol", "statistics", "selection")
"""What a run is named by; two that agree in all of them differ in their settings."""
_NO_DIFFERENCE = (
    "seed", "name", "paths", "hydra", "callbacks", "logger", "resume", "test", "floors", "selection", "protocol", "test_statistics",
    "method.protocol", "method.test_statistics", "sweep", *NO_EFFECT,
)  # fmt: skip
"""Settings that do not tell runs apart: a fact does (protocol, selection ...), or they have no effect on the scores."""
_UNNAMED = {"trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto", "trainer.sync_batchnorm": "auto"}
_UNNAMED |= {"loading.on_bad_sample": "raise", "method.inner_parameters": "all", "schedule.factor": 1}
_UNNAMED |= {"method.freeze_statistics_after": None, "method.commit": "stepped"}
"""What settings mean that do not name these, as older runs' and those of one device; several devices multiply the batch."""


@dataclass(frozen=True)
class Run:
    """An evaluated run."""

    folder: Path  # where it lies
    results: Results  # its scores
    settings: Mapping[str, Any] = field(default_factory=dict)  # all that are known, by dotted keys
    written: float = 0.0  # when the results were, in seconds; of two runs with one seed the later counts
    folders: tuple[Path, ...] = ()  # of the folds that it was merged from, each of which left out another domain

    @property
    def label(self) -> str:
        """Its name among several checkpoints, else the end of its path."""
        return self.results.label or "/".join(self.folder.parts[-2:])

    @property
    def facts(self) -> dict[str, str]:
        """`FACTS`, as text."""
        facts: dict[str, Any] = {fact: getattr(self.results, fact) for fact in FACTS}
        facts["experiment"] = self.results.experiment or self.settings.get("name")
        facts["sources"] = "+".join(self.results.sources)
        facts["selection"] = (self.results.selection or "").partition(" (step")[0]
        return {fact: str(value or "") for fact, value in facts.items()}

    @property
    def compared_settings(self) -> dict[str, Any]:
        """The settings that the scores may depend on and that no fact tells: not seeds, but for that of stand-ins, nor where data lie."""
        settings = dict(self.settings)
        if settings:
            settings = _UNNAMED | settings
            devices = settings["trainer.devices"]
            settings["trainer.devices"] = len(devices) if isinstance(devices, list) else devices  # how many, not which
            if self.results.devices is not None:  # what `auto` came to
                settings["trainer.devices"] = self.results.devices
        return {
            key: value
            for key, value in settings.items()
            if not any(f"{key}.".startswith(f"{name}.") for name in _NO_DIFFERENCE)
            and not key.endswith(".root")
            and ("seed" not in key.rpartition(".")[2] or "stand_in" in key)
        }


def read_runs(patterns: str | Path | Sequence[str | Path], setting: str = "runs") -> list[Run]:
    """Read the results of runs.

    Args:
        patterns: Run folders, `results.json` files, folders with runs somewhere below them (sweeps), or globs of these.
        setting: Named in errors.

    Returns:
        The runs, each once.

    Raises:
        ConfigurationError: A pattern leads to no results, or a file is damaged.
    """
    patterns = [patterns] if isinstance(patterns, str | Path) else patterns
    found = dict.fromkeys(file.resolve() for pattern in patterns for file in _results_files(str(pattern), setting))
    runs = []
    for path in found:
        results = Results.read(path)
        if missing := [key for key in ("mean_miou", "method") if key not in results.model_fields_set]:
            raise ConfigurationError(f"{path} is no complete results file of this library: it has no {' and no '.join(missing)}.")
        folder = RunFolder(path.parent)
        settings = {key: value for key, value in folder.settings.items() if key == "name" or key not in folder.variables}
        runs.append(Run(path.parent, results, settings, path.stat().st_mtime))
    return runs


def read_run(path: str | Path, setting: str) -> Run:
    """Read the results of one run; as `read_runs`, but several are an error, too."""
    runs = read_runs(path, setting)
    if len(runs) > 1:
        raise ConfigurationError(f"{setting}={path} holds {len(runs)} runs; give the folder of one.")
    return runs[0]


def _results_files(pattern: str, setting: str) -> list[Path]:
    """The files that a pattern stands for, at least one."""
    path = Path(pattern).expanduser()
    places = [path] if path.exists() else sorted(Path(found) for found in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute globs
    found: list[Path] = []
    for place in places:
        below = [place] if place.is_file() and place.name == RESULTS else []
        if place.is_dir():
            if not os.access(place, os.R_OK | os.X_OK):
                raise ConfigurationError(f"{setting}={pattern}: the folder {place} cannot be read. Change its permissions.")
            below = [place / RESULTS] if (place / RESULTS).is_file() else sorted(place.rglob(RESULTS))
            if not below:
                log.warning("%s holds no results.json (not finished, or not evaluated): left out.", place)
        found += below
    if not found:
        seen = f"{len(places)} files and folders, none of them with results" if places else "nothing"
        raise ConfigurationError(
            f"{setting}={pattern}: expected run folders with a results.json, which train and evaluate write; found {seen}"
            f" (looked from {Path.cwd()})."
        )
    return found


def refuse_mixture(results: Mapping[str, Results]) -> None:
    """Refuse stand-in scores next to real ones; messages use the names of the results."""
    kinds: dict[bool, list[str]] = {}
    for name, one in results.items():
        kinds.setdefault(one.stand_in, []).append(name)
    if len(kinds) > 1:
        raise ConfigurationError(
            f"STAND-IN scores cannot stand next to real ones: {kinds[True][0]} was evaluated on drawn stand-ins, {kinds[False][0]} on real"
            " images. Compare the two kinds separately."
        )
