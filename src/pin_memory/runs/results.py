"""The scores of a run (`results.json`), the pixel counts behind them (`confusions.npz`), and the gain of one run over another."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic_core import to_json

from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.files import atomic_write, report_write_errors, write_text
from pin_memory.utils.safe_load import load_arrays, read_json

RESULTS = "results.json"
"""Scores of an evaluated run, in its folder."""
CONFUSIONS = "confusions.npz"
"""An int64 array `(K, K)` per target, rows are the ground truth; in the run folder."""
CONDITIONS = ("view", "image_scale", "label_scale", "layout", "images", "classes", "episodes", "corruption")
"""What two scores on a target must share, besides the protocol, to be of the same pixels and classes."""
_EPISODE_MEANS = {"miou_with_background": "mIoU with background", "fb_iou": "FB-IoU", "miou_panet": "mIoU, PANet's rule"}

Scores = dict[str, float | None]
"""Fractions, or differences of fractions, by name; None where there is no ground truth."""


class TargetScores(BaseModel):
    """The scores of one target; in `results.json` means and conditions stand next to `iou`."""

    model_config = ConfigDict(frozen=True, strict=True)

    means: Scores  # "miou", over the classes that the data set has, and with SYNTHIA as a source "miou16" and "miou13"
    iou: Scores  # of each class
    conditions: dict[str, Any] = {}  # what the scores depend on besides network and protocol: `CONDITIONS`

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "means" in content:
            return content
        if not {"miou", "iou"} <= content.keys():
            raise ValueError("expected miou and the iou of the classes")
        means = {kind: content[kind] for kind in kinds([content])}
        conditions = {key: value for key, value in content.items() if key not in means and key != "iou"}
        return {"means": means, "iou": content["iou"], "conditions": conditions}

    @model_serializer
    def to_json(self) -> dict[str, Any]:
        """As `results.json` has them."""
        return {**self.means, "iou": self.iou, **self.conditions}

    @property
    def miou(self) -> float | None:
        """Mean IoU."""
        return self.means["miou"]

    def differing(self, other: "TargetScores") -> list[str]:
        """The conditions in which two scores differ, which then cannot be compared."""
        return [key for key in CONDITIONS if self.conditions.get(key) != other.conditions.get(key)]

    def minus(self, other: "TargetScores") -> "TargetScores":
        """The differences of the means and classes that both have."""
        means = {kind: difference(value, other.means[kind]) for kind, value in self.means.items() if kind in other.means}
        iou = {name: difference(value, other.iou[name]) for name, value in self.iou.items() if name in other.iou}
        return TargetScores(means=means, iou=iou)


class Gain(BaseModel):
    """Differences of a run's scores to those of another."""

    model_config = ConfigDict(frozen=True, strict=True)

    baseline: str  # name of the other run
    statistics: str | None = None  # of batch norm, in the other run
    targets: dict[str, TargetScores | None]  # None for a target that is not comparable
    mean_miou: float | None = None  # None unless the two means are over the same targets, all of them comparable


class Results(BaseModel):
    """The content of a `results.json`. A field that the file does not have has its default and is not written either."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    method: str = ""
    network: str = ""
    variant: str | None = None  # name of the study's variant that was trained
    sources: list[str] = []  # names of the source domains
    protocol: str = ""  # name and version, and what was changed in it
    protocol_settings: dict[str, Any] = {}  # all of its settings
    statistics: str | None = None  # what batch norm normalised by
    stand_in: bool = False  # whether the scenes were drawn
    images_seen: int | None = None  # images that the checkpoint was trained on
    targets: dict[str, TargetScores]
    mean_miou: float | None = None  # unweighted mean of the targets' mIoU
    spread: Scores | None = None  # of a few-shot test: standard deviation of each mean over the seeds
    revision: str | None = None  # of the code
    experiment: str | None = None  # its name, of an evaluation
    label: str | None = None  # name of the checkpoint among several, of an evaluation
    seed: int | None = None  # of the training
    devices: int | None = None  # that trained
    backbone_licence: str | None = None  # of the weights that the backbone began with, where it is known
    floors: dict[str, Scores] | None = None  # mIoU by name of the floor and target
    checkpoint: str | None = None  # the file; a run names its own relative to its folder
    selection: str | None = None  # how the checkpoint was chosen
    step_seconds: float | None = None  # of a training step, the median
    peak_bytes: int | None = None  # the most memory of the training, on the GPU or else resident
    source_validation: Scores | None = None  # mIoU by source on the validation splits
    skipped: dict[str, int] | None = None  # "steps" and "memory_writes" that were left out, with numbers that were not finite
    bad_samples: dict[str, Any] | None = None  # training samples that could not be read, by source
    gain: Gain | None = None  # over a baseline

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `results.json`; an error where it cannot be read, is damaged, or holds something else."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            found = error.errors()[0]
            where, message = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
            reason = f"{where or 'the file'}: {message.replace('Input should be', 'expected')}"
            raise ConfigurationError(f"{path} is no readable results file of this library: {reason}.") from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read ({error.strerror or error}).") from error
        except ValueError as error:
            raise ConfigurationError(f"{path} is no readable results file of this library: {error}.") from error

    def write(self, path: Path) -> None:
        """Write a `results.json`; a number that is not finite becomes null."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """As `results.json` has them."""
        return self.model_dump(exclude_unset=True)

    @property
    def titles(self) -> list[str]:
        """The names of the targets for tables; those that were added to an evaluation, and are none of the run's, say so."""
        return [title(name, scores.conditions) for name, scores in self.targets.items()]

    def kinds(self) -> list[str]:
        """Names of the means that a target has: miou, and with SYNTHIA as a source miou16 and miou13."""
        return kinds(scores.means for scores in self.targets.values())

    def mean(self, kind: str = "miou") -> float | None:
        """Unweighted mean of one kind of mean over the targets."""
        return known_mean(scores.means.get(kind) for scores in self.targets.values())


def gain_over(results: Results, baseline: Results, name: str) -> Gain:
    """Difference of one run's scores to those of another (`name`), on the targets that both were evaluated on in the same way."""
    targets: dict[str, TargetScores | None] = {}
    for target, scores in results.targets.items():
        other = baseline.targets.get(target)
        comparable = other is not None and results.protocol == baseline.protocol and not scores.differing(other)
        targets[target] = scores.minus(other) if other is not None and comparable else None
    complete = results.targets.keys() == baseline.targets.keys() and all(targets.values())
    mean = difference(results.mean_miou, baseline.mean_miou) if complete else None
    return Gain(baseline=name, statistics=baseline.statistics, targets=targets, mean_miou=mean)


def difference(one: float | None, other: float | None) -> float | None:
    """One score minus the other; None where one is missing."""
    return None if one is None or other is None else one - other


def title(target: str, conditions: Mapping[str, Any]) -> str:
    """The name of a target in tables."""
    return f"{target} (added)" if conditions.get("added") else target


def kinds(scores: Iterable[Iterable[str]]) -> list[str]:
    """Names of the means among the keys of targets' scores: miou, miou16, miou13, and those of episodes."""
    return list(dict.fromkeys(key for target in scores for key in target if key.startswith(("miou", "fb_iou"))))


def kind_label(kind: str) -> str:
    """What tables call a mean: `miou16` is mIoU16."""
    return _EPISODE_MEANS.get(kind) or f"mIoU{kind.removeprefix('miou')}"


def known_mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there and finite; None where none is."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write containers of numbers, tensors and arrays as JSON, completely or not at all; NaN and infinity become null."""
    text = to_json(content, indent=2, inf_nan_mode="null", fallback=lambda value: value.tolist()).decode()
    with report_write_errors(path, "the results to "):
        write_text(path, f"{text}\n")


def write_confusions(path: Path, confusions: Mapping[str, Any]) -> None:
    """Write the pixel counts behind the scores, one int64 array `(K, K)` per target with the ground truth in rows."""
    arrays: dict[str, Any] = {name: np.asarray(counts, np.int64) for name, counts in confusions.items()}
    with report_write_errors(path), atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_confusions(run: str | Path) -> dict[str, np.ndarray]:
    """The confusion matrices behind the scores of a run.

    Args:
        run: The run folder.

    Returns:
        Pixels `(K, K)` int64 by target, rows are the ground truth; empty if the run kept none.

    Raises:
        DataError: The file is damaged.
    """
    path = Path(run) / CONFUSIONS
    if not path.is_file():
        return {}
    try:
        confusions = load_arrays(path)
    except DataError as error:
        raise DataError(f"{error} Expected a confusion matrix for each target. Evaluate again.") from error
    for name, counts in confusions.items():
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind != "i":
            raise DataError(f"{path}: expected a confusion matrix (K, K) of counts for each target; {name} is none. Evaluate again.")
    return confusions
