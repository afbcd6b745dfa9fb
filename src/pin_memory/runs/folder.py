"""A run folder, which `train` and `evaluate` leave: every part of it is read here, at its first use."""

import csv
import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from pin_memory.runs.old_settings import current_settings
from pin_memory.runs.results import RESULTS, Results
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.safe_load import read_json, read_yaml

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

SETTINGS = "settings.yaml"
"""Settings of the run that an evaluation is of, next to its results; a training run has them in `.hydra/config.yaml`."""
HYDRA_FOLDER = ".hydra"
"""Folder in a run's in which Hydra keeps the settings."""

Series = dict[str, tuple[list[int], list[float]]]
"""Iterations and values by the name of a metric."""


class Tile(BaseModel):
    """One entry of `tiles/index.json`: the names of its files, and the share of evaluated pixels that are wrong."""

    target: str
    name: str
    image: str
    truth: str
    prediction: str
    wrong: float | None = None


class Tiles(BaseModel):
    """`tiles/index.json`: names and colours (RGB) of the classes, and the panels."""

    classes: list[str] = []
    palette: list[tuple[int, int, int]] = []
    panels: list[Tile] = []


class RunFolder:
    """The folder of a training or an evaluation. A part that is missing is empty or None; one that cannot be read is, too, and is listed.

    Args:
        path: The folder; it need not exist.

    Attributes:
        unread: Files that are there and could not be read, with the reason; grows as parts are used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.unread: list[str] = []

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The folder at a path; an error where there is none."""
        if not (folder := cls(path)).path.is_dir():
            raise DataError(
                f"run={path}: no such folder (looked for {folder.path.absolute()}). Give a run folder, runs/<experiment>/<time>."
            )
        return folder

    @cached_property
    def results(self) -> Results | None:
        """`results.json`; None where the run has no scores."""
        path = self.path / RESULTS
        return self._part(path.name, lambda: Results.read(path) if path.is_file() else None, None)

    def results_of(self, checkpoint: Path) -> Results | None:
        """The results, if they are those of this very checkpoint."""
        named = self.results.checkpoint if self.results else None
        return self.results if named and (self.path / named).resolve() == checkpoint.resolve() else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings, nested, with interpolations where the file has them; of an evaluation those of the run that was evaluated."""
        files = (self.path / SETTINGS, self.path / "config.yaml", self.path / HYDRA_FOLDER / "config.yaml")
        return next((found for file in files if (found := self._mapping(file))), {})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted keys; single values that follow from others are filled in, parts that stand elsewhere stay references."""
        for file in (self.path / SETTINGS, self.path / HYDRA_FOLDER / "config.yaml"):
            content = self._mapping(file)
            if "method" in content:
                return self._part(file.name, partial(_resolved, content), {})
        return {}

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
        path = self.path / HYDRA_FOLDER / "overrides.yaml"
        found = self._part(path.name, lambda: read_yaml(path) if path.is_file() else None, None)
        return [str(override) for override in found] if isinstance(found, list) else None

    @cached_property
    def choices(self) -> dict[str, str]:
        """The chosen option of each configuration group, without Hydra's own."""
        found = self._runtime.get("choices")
        chosen = found if isinstance(found, dict) else {}
        return {str(group): str(option) for group, option in sorted(chosen.items()) if option and not str(group).startswith("hydra")}

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
        return self._mapping(self.path / "provenance.json", read_json)

    @cached_property
    def metrics(self) -> Series:
        """The columns of `metrics.csv` without their empty cells; iterations count from 1."""
        path, series = self.path / "metrics.csv", Series()
        self._part(path.name, lambda: _read_metrics(path, series) if path.is_file() else None, None)
        return series

    @cached_property
    def trace(self) -> "tuple[np.ndarray, np.ndarray] | None":
        """Iterations `(T,)` and memory items `(T, K, C)` of `memory_trace.npz`; None without a record."""
        from pin_memory.callbacks.memory_trace import read_trace  # imports torch

        found = self._part("", lambda: read_trace(self.path), None)
        return found if found is not None and len(found[0]) else None

    @cached_property
    def tiles(self) -> Tiles:
        """`tiles/index.json`."""
        path = self.tiles_folder / "index.json"
        try:
            return Tiles.model_validate(self._mapping(path, read_json))
        except ValidationError as error:
            self.unread.append(f"{path.name}: not as this library writes it ({error.errors()[0]['msg']})")
            return Tiles()

    @property
    def tiles_folder(self) -> Path:
        """Where the pictures of the panels lie."""
        return self.path / "tiles"

    def checkpoint(self) -> Path:
        """The checkpoint that the results are of, else the best by source validation, else the last; an error where there is none."""
        evaluated = [self.results.checkpoint] if self.results and self.results.checkpoint else []
        for name in (*evaluated, "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
            if (self.path / name).is_file():
                return self.path / name
        found = f"a folder without {self.path / 'checkpoints' / 'best.ckpt'} or last.ckpt" if self.path.is_dir() else "nothing"
        raise ConfigurationError(f"{self.path}: expected a run folder (runs/<experiment>/<time>) or a checkpoint file, found {found}.")

    def _part(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        """What `read` returns; where that fails, `otherwise`, and the reason is noted."""
        try:
            return read()
        except (ConfigurationError, DataError) as error:  # these name the file
            self.unread.append(str(error))
        except (OSError, ValueError, csv.Error, OmegaConfBaseException) as error:
            self.unread.append(f"{name}: {error}")
        return otherwise

    def _mapping(self, path: Path, read: Callable[[Path], Any] = read_yaml) -> dict[str, Any]:
        found: Any = self._part(path.name, lambda: read(path) if path.is_file() else {}, {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def _runtime(self) -> dict[str, Any]:
        """What Hydra has on record about how the run was started."""
        try:
            return dict(self._mapping(self.path / HYDRA_FOLDER / "hydra.yaml")["hydra"]["runtime"])
        except (KeyError, TypeError, ValueError):
            return {}


def dotted(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys."""
    if not isinstance(settings, Mapping):
        return {prefix.rstrip("."): settings}
    return {key: value for name, part in settings.items() for key, value in dotted(part, f"{prefix}{name}.").items()}


def _resolved(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted keys; references to single values are followed, but for that to the seed, which tells nothing of its own."""
    settings = current_settings(settings)
    cfg = OmegaConf.create(settings)
    return {key: _followed(cfg, key, value) for key, value in dotted(settings).items()}


def _followed(cfg: DictConfig, key: str, value: Any) -> Any:
    if not isinstance(value, str) or "${" not in value or value == "${seed}":
        return value
    try:
        found = OmegaConf.select(cfg, key)
    except OmegaConfBaseException:  # of a resolver that only the run itself knows
        return value
    return value if isinstance(found, Container) else found


def _read_metrics(path: Path, series: Series) -> None:
    """Add the rows of a CSV file to the columns; a row that a crash cut short loses only its last cells."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = _number(row.get("step"))
            if step is None or not math.isfinite(step):
                continue
            for name, cell in row.items():
                value = _number(cell) if name not in ("step", "epoch", None) else None
                if value is not None:
                    steps, values = series.setdefault(str(name), ([], []))
                    while steps and steps[-1] > step:  # a run that was cut off was resumed from a checkpoint before its last rows
                        del steps[-1], values[-1]
                    steps.append(int(step) + 1)  # the file counts from 0
                    values.append(value)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None
