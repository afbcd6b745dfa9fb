"""A run folder, which `train` and `evaluate` leave: every part of it is read here, at its first use."""

import csv
import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from pin_memory.runs.old_settings import current_settings
from pin_memory.runs.own_folder import CHECKPOINTS, HYDRA_FOLDER
from pin_memory.runs.results import RESULTS, Results
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.safe_load import read_json, read_yaml
from pin_memory.utils.traces import FILE, read_trace

T = TypeVar("T")

SETTINGS = "settings.yaml"
"""Settings of the run that an evaluation is of, next to its results; a training run has them in `.hydra/config.yaml`."""
_HYDRA_CONFIG = f"{HYDRA_FOLDER}/config.yaml"

NO_EFFECT = (
    "loading.num_workers", "loading.max_bad_share", "trainer.accelerator", "trainer.log_every_n_steps", "trainer.default_root_dir",
    "trainer.enable_model_summary", "trainer.enable_progress_bar", "trainer.benchmark", "trainer.use_distributed_sampler",
    "trainer.num_sanity_val_steps",
)  # fmt: skip
"""Settings of speed, places and what is shown: two runs that differ in these alone are one run twice."""

Series = dict[str, tuple[list[int], list[float]]]
"""Iterations and values by the name of a metric."""


class Tile(BaseModel):
    """One entry of `tiles/index.json`: a panel with the names of its files."""

    target: str
    name: str
    image: str
    truth: str
    prediction: str
    wrong: float | None = None  # share of the evaluated pixels


class Tiles(BaseModel):
    """`tiles/index.json`: names and colours (RGB) of the classes, and the panels."""

    classes: list[str] = []
    palette: list[tuple[int, int, int]] = []
    panels: list[Tile] = []


class RunFolder:
    """The folder of a training or an evaluation. A part that is missing or cannot be read is empty or None."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()  # it need not exist
        self.unread: list[str] = []  # files that are there and could not be read, with the reason; grows as parts are used

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The folder at a path; an error where there is none."""
        if not (folder := cls(path)).path.is_dir():
            where = folder.path.absolute()
            raise DataError(f"run={path}: no such folder (looked for {where}). Give a run folder, runs/<experiment>/<time>.")
        return folder

    @cached_property
    def results(self) -> Results | None:
        """`results.json`; None where the run has no scores."""
        return self._part(RESULTS, Results.read, None)

    def results_of(self, checkpoint: Path) -> Results | None:
        """The results, if they are those of this very checkpoint."""
        named = self.results.checkpoint if self.results else None
        return self.results if named and (self.path / named).resolve() == checkpoint.resolve() else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, nested, with interpolations where the file has them; of an evaluation those of the run that was evaluated."""
        return next((found for file in (SETTINGS, "config.yaml", _HYDRA_CONFIG) if (found := self._mapping(file))), {})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted keys; single values that follow from others are filled in, parts that stand elsewhere stay references."""
        for file in (SETTINGS, _HYDRA_CONFIG):
            if "method" in self._mapping(file):
                return self._part(file, lambda path: _resolved(read_yaml(path)), {})
        return {}

    @cached_property
    def variables(self) -> set[str]:
        """Single values at the top that other settings refer to; what they decide stands there, too."""
        return set(re.findall(r"\$\{(\w+)\}", str(self.config)))

    @property
    def is_evaluation(self) -> bool:
        """Whether it is the folder of an evaluation."""
        return (self.path / SETTINGS).is_file()

    @property
    def stand_in(self) -> bool:
        """Whether the scenes were drawn: as the results say, else the settings."""
        data = self.config.get("data")
        return self.results.stand_in if self.results else isinstance(data, dict) and bool(data.get("stand_in"))

    @cached_property
    def overrides(self) -> list[str] | None:
        """What was typed behind the command when the run was started or resumed last; None where that is not on record."""
        found = self._part(f"{HYDRA_FOLDER}/overrides.yaml", read_yaml, None)
        return [str(override) for override in found] if isinstance(found, list) else None

    @cached_property
    def choices(self) -> dict[str, str]:
        """The chosen option of each configuration group, without Hydra's own."""
        found = self._runtime.get("choices")
        chosen = sorted(found.items()) if isinstance(found, dict) else ()
        return {str(group): str(option) for group, option in chosen if option and not str(group).startswith("hydra")}

    @cached_property
    def config_directory(self) -> Path | None:
        """The folder of the user's own YAML files (`--config-dir`) that the run was started with."""
        try:
            return next((Path(one["path"]).resolve() for one in self._runtime["config_sources"] if one["provider"] == "command-line"), None)
        except (KeyError, TypeError):
            return None

    @cached_property
    def working_directory(self) -> Path | None:
        """The folder in which the command of the run was typed, which relative paths in its settings mean."""
        folder = self._runtime.get("cwd")
        return Path(folder) if isinstance(folder, str) else None

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """`provenance.json`."""
        return self._mapping("provenance.json", read_json)

    @cached_property
    def metrics(self) -> Series:
        """The columns of `metrics.csv` without their empty cells; a step is the number of finished iterations."""
        series = Series()
        self._part("metrics.csv", lambda path: _read_metrics(path, series), None)
        return series

    @cached_property
    def trace(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Iterations `(T,)` and memory items `(T, K, C)` of `memory_trace.npz`; None without a record."""
        found = self._part(FILE, lambda path: read_trace(path.parent), None)
        return found if found is not None and len(found[0]) else None

    @cached_property
    def tiles(self) -> Tiles:
        """`tiles/index.json`."""
        try:
            return Tiles.model_validate(self._mapping("tiles/index.json", read_json))
        except ValidationError as error:
            self.unread.append(f"index.json: not as this library writes it ({error.errors()[0]['msg']})")
            return Tiles()

    def checkpoint(self) -> Path:
        """The checkpoint that the results are of, else the best by source validation, else the last; an error where there is none."""
        evaluated = [self.results.checkpoint] if self.results and self.results.checkpoint else []
        for name in (*evaluated, "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
            if (self.path / name).is_file():
                return self.path / name
        found = f"a folder without {self.path / CHECKPOINTS / 'best.ckpt'} or last.ckpt" if self.path.is_dir() else "nothing"
        raise ConfigurationError(f"{self.path}: expected a run folder (runs/<experiment>/<time>) or a checkpoint file, found {found}.")

    def _part(self, name: str, read: Callable[[Path], T], otherwise: T) -> T:
        """What `read` makes of a file; `otherwise` where there is none, and where that fails, with a note of the reason."""
        path = self.path / name
        try:
            return read(path) if path.is_file() else otherwise
        except (ConfigurationError, DataError) as error:  # these name the file
            self.unread.append(str(error))
        except (OSError, ValueError, csv.Error, OmegaConfBaseException) as error:
            self.unread.append(f"{path.name}: {error}")
        return otherwise

    def _mapping(self, name: str, read: Callable[[Path], Any] = read_yaml) -> dict[str, Any]:
        found: Any = self._part(name, read, {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def _runtime(self) -> dict[str, Any]:
        """What Hydra has on record about how the run was started."""
        try:
            return dict(self._mapping(f"{HYDRA_FOLDER}/hydra.yaml")["hydra"]["runtime"])
        except (KeyError, TypeError, ValueError):
            return {}


def dotted(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys; `1.0` and `1` are one value, however they were typed."""
    if not isinstance(settings, Mapping):
        return {prefix.rstrip("."): int(settings) if isinstance(settings, float) and settings.is_integer() else settings}
    return {key: value for name, part in settings.items() for key, value in dotted(part, f"{prefix}{name}.").items()}


def _resolved(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted keys; references to single values are followed, but for that to the seed, which tells nothing of its own."""
    settings = current_settings(settings)
    cfg, found = OmegaConf.create(settings), dotted(settings)
    for key, value in found.items():
        if isinstance(value, str) and "${" in value and value != "${seed}":
            with suppress(OmegaConfBaseException):  # of a resolver that only the run itself knows
                followed = OmegaConf.select(cfg, key)
                found[key] = value if isinstance(followed, Container) else followed
    return found


def _read_metrics(path: Path, series: Series) -> None:
    """Add the rows of a CSV file to the columns; a row that a crash cut short loses only its last cells."""
    with path.open("rb") as head:
        encoding = json.detect_encoding(head.read(4))  # a table program may have chosen another, with a mark in front
    with path.open(newline="", encoding=encoding) as file:
        reader = csv.DictReader(file)
        if reader.fieldnames and "step" not in reader.fieldnames:
            raise ValueError(f"no column `step` among {', '.join(reader.fieldnames)[:60]}; columns are separated by commas")
        for row in reader:
            numbers = {str(name): value for name, cell in row.items() if (value := _number(cell)) is not None}
            step = numbers.pop("step", math.nan)
            for name, value in numbers.items() if math.isfinite(step) else ():
                if name != "epoch":
                    steps, values = series.setdefault(name, ([], []))
                    while steps and steps[-1] >= step:  # a run that was cut off was resumed from a checkpoint before its last rows
                        del steps[-1], values[-1]
                    steps.append(int(step))
                    values.append(value)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):  # empty, cut short, or a list of cells without a column
        return None
