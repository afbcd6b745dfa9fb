"""The scores of a run as `results.json` holds them, and the gain of one run over another."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from pin_memory.metrics import class_iou
from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write, report_write_errors, write_text
from pin_memory.utils.labels import CLASSES
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table

RESULTS = "results.json"
"""Scores of an evaluated run, in its folder."""
CONFUSIONS = "confusions.npz"
"""The pixel counts behind them: an int64 array `(K, K)` per target, rows are the ground truth."""
CONDITIONS = ("view", "image_scale", "label_scale", "layout", "images", "classes")
"""What two scores on a target must share, besides the protocol, to be of the same pixels and classes."""

Scores = dict[str, float | None]
"""Fractions, or differences of fractions, by name; None where there is no ground truth."""
_STRICT = ConfigDict(strict=True)


@dataclass(frozen=True, config=_STRICT)
class TargetScores:
    """The scores of one target.

    Attributes:
        means: "miou", the mean over the classes that the data set has, and with SYNTHIA as a source "miou16" and "miou13".
        iou: Of each class.
        conditions: What the scores depend on besides network and protocol: `CONDITIONS`.
    """

    means: Scores
    iou: Scores
    conditions: dict[str, Any]

    @property
    def miou(self) -> float | None:
        """Mean IoU."""
        return self.means["miou"]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The scores as `results.json` has them: means and conditions next to `iou`."""
        means = {kind: content[kind] for kind in dict.fromkeys(("miou", *kinds([content])))}
        conditions = {key: value for key, value in content.items() if key not in means and key != "iou"}
        return cls(means=means, iou=content["iou"], conditions=conditions)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {**self.means, "iou": self.iou, **self.conditions}

    def differing(self, other: "TargetScores") -> list[str]:
        """The conditions in which two scores differ, which then cannot be compared."""
        return [key for key in CONDITIONS if self.conditions.get(key) != other.conditions.get(key)]

    def minus(self, other: "TargetScores") -> "TargetScores":
        """The differences of all means and classes."""
        return TargetScores(_differences(self.means, other.means), _differences(self.iou, other.iou), {})


@dataclass(frozen=True, config=_STRICT)
class Gain:
    """Differences of a run's scores to those of another.

    Attributes:
        baseline: Name of the other run.
        targets: None for a target that is not comparable.
        mean_miou: None unless the two means are over the same targets, all of them comparable.
        statistics: Of batch norm, in the other run.
    """

    baseline: str
    targets: dict[str, TargetScores | None]
    mean_miou: float | None
    statistics: str | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The gain as `results.json` has it."""
        targets = {name: scores and TargetScores.from_json(scores) for name, scores in content["targets"].items()}
        more = {key: content.get(key) for key in ("mean_miou", "statistics")}
        return cls(baseline=content["baseline"], targets=targets, **more)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        targets = {name: scores and scores.to_json() for name, scores in self.targets.items()}
        return {"baseline": self.baseline, "statistics": self.statistics, "targets": targets, "mean_miou": self.mean_miou}


class Results(BaseModel):
    """The content of a `results.json`. A field that the file does not have has its default and is not written either.

    Attributes:
        method: Name of the method.
        network: Name of the network.
        sources: Names of the source domains.
        protocol: Name and version, and what was changed in it.
        protocol_settings: All of its settings.
        statistics: What batch norm normalised by.
        stand_in: Whether the scenes were drawn.
        images_seen: Images that the checkpoint was trained on.
        targets: Scores by target.
        mean_miou: Unweighted mean of the targets' mIoU.
        revision: Of the code.
        experiment: Name of the experiment, of an evaluation.
        label: Name of the checkpoint among several, of an evaluation.
        seed: Of the training.
        devices: That trained.
        floors: mIoU by name of the floor and target.
        checkpoint: The file; a run names its own relative to its folder.
        selection: How the checkpoint was chosen.
        source_validation: mIoU by source on the validation splits.
        skipped: Iterations that were left out because a number was not finite.
        bad_samples: Training samples that could not be read, by source.
        gain: Over a baseline.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    method: str = ""
    network: str = ""
    sources: list[str] = []
    protocol: str = ""
    protocol_settings: dict[str, Any] = {}
    statistics: str | None = None
    stand_in: bool = False
    images_seen: int | None = None
    targets: dict[str, TargetScores]
    mean_miou: float | None = None
    revision: str | None = None
    experiment: str | None = None
    label: str | None = None
    seed: int | None = None
    devices: int | None = None
    floors: dict[str, Scores] | None = None
    checkpoint: str | None = None
    selection: str | None = None
    source_validation: Scores | None = None
    skipped: int | None = None
    bad_samples: dict[str, Any] | None = None
    gain: Gain | None = None

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The results as `results.json` has them.

        Raises:
            ValueError: They are something else; says what was expected.
        """
        try:
            targets = {name: TargetScores.from_json(scores) for name, scores in content["targets"].items()}
            gain = {"gain": Gain.from_json(content["gain"])} if content.get("gain") else {}
            return cls(**content | {"targets": targets} | gain)
        except ValidationError as error:
            found = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, found['loc']))}: {found['msg'].replace('Input should be', 'expected')}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("expected targets, each with its miou and the iou of the classes") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `results.json`.

        Raises:
            ConfigurationError: It cannot be read, is damaged, or holds something else.
        """
        try:
            return cls.from_json(read_json(path))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} is no readable results file of this library: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        content = {name: value for name, value in self if name in self.model_fields_set}
        content["targets"] = {name: scores.to_json() for name, scores in self.targets.items()}
        return content | ({"gain": self.gain.to_json()} if self.gain else {})

    def kinds(self) -> list[str]:
        """Names of the means that a target has: miou, and with SYNTHIA as a source miou16 and miou13."""
        return kinds(scores.means for scores in self.targets.values())

    def mean(self, kind: str = "miou") -> float | None:
        """Unweighted mean of one kind of mean over the targets."""
        return known_mean(scores.means.get(kind) for scores in self.targets.values())


def gain_over(results: Results, baseline: Results, name: str) -> Gain:
    """Difference of one run's scores to those of another, on the targets that both were evaluated on in the same way.

    Args:
        results: Of the one run.
        baseline: Of the other.
        name: Of the other.

    Returns:
        Fractions, run minus baseline.
    """
    targets: dict[str, TargetScores | None] = {}
    for target, scores in results.targets.items():
        other = baseline.targets.get(target)
        comparable = other is not None and results.protocol == baseline.protocol and not scores.differing(other)
        targets[target] = scores.minus(other) if other is not None and comparable else None
    complete = results.targets.keys() == baseline.targets.keys() and all(targets.values())
    mean = _difference(results.mean_miou, baseline.mean_miou) if complete else None
    return Gain(name, targets, mean, baseline.statistics)


def _differences(own: Scores, other: Scores) -> Scores:
    return {name: _difference(value, other.get(name)) for name, value in own.items()}


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def kinds(scores: Iterable[Iterable[str]]) -> list[str]:
    """Names of the means among the keys of targets' scores: miou, miou16, miou13."""
    return list(dict.fromkeys(key for target in scores for key in target if key.startswith("miou")))


def target_result(
    confusion: Tensor | np.ndarray,
    classes: Sequence[str] = CLASSES,
    occurring: Sequence[str] | None = None,
    subsets: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Scores of one target from its confusion matrix.

    Args:
        confusion: Pixel counts (K, K); rows are the ground truth.
        classes: Names of the K classes.
        occurring: The classes that occur in the data set: the means are taken over these, whatever was predicted. All by default.
        subsets: Further means by name, e.g. "miou16", and the classes they are taken over.

    Returns:
        `{"miou": 0.41, "iou": {"road": 0.93, ...}}`, fractions, and a mean for each subset. None for a class that does not occur or has
        no ground truth in the images that were judged; the means leave it out.
    """
    iou = class_iou(torch.as_tensor(confusion)).tolist()
    known = set(classes if occurring is None else occurring)
    scores = {name: _number(value) if name in known else None for name, value in zip(classes, iou, strict=True)}
    means = {name: known_mean(scores.get(member) for member in members) for name, members in (subsets or {}).items()}
    return {"miou": known_mean(scores.values()), **means, "iou": scores}


def mean_miou(targets: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Unweighted mean of the targets' mIoU; None when no target has one.

    Args:
        targets: Result of `target_result` by target name.
    """
    return known_mean(target["miou"] for target in targets.values())


def results_table(results: Mapping[str, Any], floors: Mapping[str, Mapping[str, float | None]] | None = None) -> str:
    """Write the scores as plain text: a row per class, then the mean; a column per target, then their mean.

    Args:
        results: The content of `results.json`; `targets` is required, what the caption names is used where present.
        floors: mIoU of each target by the name of the floor, printed below the mIoU: what the run has to beat.

    Returns:
        Lines of IoU in percent; `-` stands for a class without ground truth.
    """
    return score_table(results, floors).text()


def score_table(
    results: Mapping[str, Any], floors: Mapping[str, Mapping[str, float | None]] | None = None, class_gains: bool = False
) -> Table:
    """The table of `results_table`, to be written in any form.

    Args:
        results: The content of `results.json`; where it has a `gain` (`comparison.gain_over`), its means are shown below the mIoU.
        floors: As of `results_table`.
        class_gains: Also show the gain of each class, in a section of its own.
    """
    targets = results["targets"]
    names = list(dict.fromkeys(name for target in targets.values() for name in target["iou"]))
    rows: list[list[Cell]] = [[name, *(Score(target["iou"].get(name)) for target in targets.values()), ""] for name in names]
    kinds = dict.fromkeys(key for target in targets.values() for key in target if key.startswith("miou"))
    scores = {_label(kind): {name: target.get(kind) for name, target in targets.items()} for kind in kinds}
    means = [_mean_row(label, [row.get(name) for name in targets]) for label, row in (scores | dict(floors or {})).items()]
    sections = [rows, means]
    if gain := results.get("gain"):
        gained = {name: gain["targets"].get(name) or {} for name in targets}
        sections[1] += [_gain_row(f"gain, {_label(kind)}", [row.get(kind) for row in gained.values()], gain) for kind in kinds]
        if class_gains:
            sections.append(
                [
                    [f"gain, {name}", *(Score((row.get("iou") or {}).get(name), signed=True) for row in gained.values()), ""]
                    for name in names
                ]
            )
    return Table(_caption(results), ["IoU in %", *targets, "mean"], sections)


def _label(kind: str) -> str:
    """`miou16` is shown as mIoU16."""
    return f"mIoU{kind.removeprefix('miou')}"


def read_results(path: Path) -> dict[str, Any]:
    """Read a `results.json`.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be read, or is damaged, or holds something else.
    """
    try:
        results = read_json(path)
        reason = _fault(results)
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        raise ConfigurationError(f"{path} is no readable results file of this library: {reason}.")
    return dict(results)


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write `results` as JSON, whole or not at all; NaN and infinity become null.

    Args:
        path: The file to write.
        results: Plain containers, numbers, tensors or arrays.

    Raises:
        OutputError: If the file cannot be written.
    """
    text = json.dumps(_plain(results), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with report_write_errors(path, "the results to "):
        write_text(path, text)


def write_confusions(path: Path, confusions: Mapping[str, Tensor]) -> None:
    """Write the pixel counts behind the scores, one int64 array `(K, K)` per target with the ground truth in rows.

    Raises:
        OutputError: If the file cannot be written.
    """
    arrays: dict[str, Any] = {name: counts.cpu().numpy().astype(np.int64) for name, counts in confusions.items()}
    with report_write_errors(path), atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _caption(results: Mapping[str, Any]) -> list[str]:
    """Say above the table how the numbers came about."""
    fields = {key: results.get(key) for key in ("method", "network", "sources", "protocol", "statistics", "selection")}
    if fields["statistics"] == "running":  # as usual
        del fields["statistics"]
    lines = [f"{key:<10} {', '.join(value) if isinstance(value, list | tuple) else value}" for key, value in fields.items() if value]
    if validation := results.get("source_validation"):
        lines.append("sources' validation mIoU in %: " + ", ".join(f"{name} {_percent(value)}" for name, value in validation.items()))
    if views := {name: target["view"] for name, target in results["targets"].items() if target.get("view", "native") != "native"}:
        lines.append("evaluation view: " + ", ".join(f"{name} {view}" for name, view in views.items()))
    if results.get("gain"):
        lines.append(f"gain over  {baseline_name(results)}")
    return [*lines, STAND_IN_NOTE] if results.get("stand_in") else lines


def baseline_name(results: Mapping[str, Any]) -> str:
    """The name of the run that a gain is over, and by what its batch norm went where that is something else.

    Args:
        results: The content of a `results.json` with a `gain`.
    """
    name, there, here = str(results["gain"]["baseline"]), results["gain"].get("statistics"), results.get("statistics")
    return f"{name} (statistics of batch norm there: {there}; here: {here})" if there and here and there != here else name


def _mean_row(label: str, values: list[float | None]) -> list[Cell]:
    """Row of one mIoU per target and their unweighted mean."""
    return [label, *map(Score, values), Score(known_mean(values))]


def _gain_row(label: str, values: list[float | None], gain: Mapping[str, Any]) -> list[Cell]:
    """Row of one difference per target and their mean, if the two runs have a mean of the same targets."""
    mean = None if gain["mean_miou"] is None else known_mean(values)
    return [label, *(Score(value, signed=True) for value in (*values, mean))]


def _percent(value: float | None) -> str:
    """A fraction as percent with one decimal."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def known_mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there; None where none is.

    Args:
        values: None and what is not finite are left out.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _number(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def _fault(results: Any) -> str:
    """What is wrong with the content of a results file, empty where nothing is."""
    if not isinstance(results, dict):
        return "expected its parts by name"
    targets, floors = results.get("targets"), results.get("floors") or {}
    if not isinstance(targets, dict) or not all(map(_is_target, targets.values())):
        return "expected targets, each with its miou and the iou of the classes"
    if not _are_scores({"mean": results.get("mean_miou")}) or not _are_scores(results.get("source_validation") or {}):
        return "expected numbers as mean_miou and in source_validation"
    if not isinstance(floors, dict) or not all(map(_are_scores, floors.values())):
        return "expected numbers by target in the floors"
    return ""


def _is_target(target: Any) -> bool:
    """Whether it is the scores of a target."""
    if not isinstance(target, dict) or "miou" not in target or "iou" not in target:
        return False
    return _are_scores(target["iou"]) and _are_scores({key: value for key, value in target.items() if key.startswith("miou")})


def _are_scores(scores: Any) -> bool:
    """Whether it is numbers, or nothing, by name."""
    return isinstance(scores, dict) and all(value is None or isinstance(value, int | float) for value in scores.values())


def _plain(value: Any) -> Any:
    """Turn tensors, arrays, paths and their containers into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    return str(value) if isinstance(value, Path) else value
