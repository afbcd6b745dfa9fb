"""The plots one by one: why a checkpoint may not have it, its figures and its numbers."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pin_memory.analysis import distances, features, memory, scores, style
from pin_memory.analysis.feature_figures import plot_domain_distances, plot_domain_pairs, plot_tsne
from pin_memory.analysis.memory_figures import plot_activation_maps, plot_memory_drift, plot_memory_similarity
from pin_memory.analysis.scores import plot_confusion, plot_gain
from pin_memory.analysis.subject import Subject
from pin_memory.callbacks.memory_trace import FILE, read_trace
from pin_memory.evaluation.compared_runs import Run
from pin_memory.runs.results import read_confusions
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import file_name
from pin_memory.utils.images import denormalize
from pin_memory.utils.labels import IGNORE

_CAPTIONS = {"before": "before the memory is read", "after": "after the memory is read"}


class AnalysisContext:
    """The subject, features that are computed once, the run that gains are over, and the figures: settings, folder, files by plot."""

    def __init__(
        self, subject: Subject, folder: Path, baseline: Run | None, formats: Sequence[str], perplexity: float = 30.0, seed: int = 0
    ) -> None:
        self.subject, self.folder, self.baseline = subject, folder, baseline
        self.formats, self.perplexity, self.seed = formats, perplexity, seed
        self.figures: dict[str, list[str]] = {}

    @cached_property
    def features(self) -> dict[str, features.ClassFeatures]:
        """Class features of every domain."""
        own = self.subject
        return {name: features.class_features(own.network, batches, own.statistics) for name, batches in own.domains.items()}

    @property
    def has_memory(self) -> bool:
        """Whether the network has a memory."""
        return self.subject.network.memory is not None

    @property
    def stages(self) -> tuple[str, ...]:
        """Where features are taken: before and after the memory is read; without one only before."""
        return ("before", "after") if self.has_memory else ("before",)

    def caption(self, stage: str) -> str:
        """How figures name a stage."""
        return _CAPTIONS[stage] if self.has_memory else "encoder"

    def title(self, text: str, stand_in: bool | None = None) -> str:
        """A title that says where stand-ins were looked at."""
        return f"{text} (STAND-IN scenes)" if (self.subject.stand_in if stand_in is None else stand_in) else text

    def save(self, plot: str, figure: Any, name: str = "") -> None:
        """Write a figure of a plot and print where it is."""
        for path in style.save_figure(figure, self.folder / file_name(name or plot), self.formats):
            self.figures.setdefault(plot, []).append(path.name)
            print(f"Figure    {path}", flush=True)


class Plot(NamedTuple):
    """A plot: the reason why this checkpoint cannot have it (None if it can), and what draws it and returns its numbers."""

    unavailable_reason: Callable[[AnalysisContext], str | None]
    draw: Callable[[AnalysisContext], Any]


def _needs_memory(context: AnalysisContext) -> str | None:
    return None if context.has_memory else f"method={context.subject.method} has no memory"


def _needs_baseline(context: AnalysisContext) -> str | None:
    if context.baseline is None:
        return "no baseline was given (baseline=RUN)"
    if context.subject.evaluated is None:
        return "there is no results.json of this checkpoint; give its run folder or that of an evaluation"
    _gain(context)  # a baseline that does not fit is an error
    return None


def _gain(context: AnalysisContext) -> scores.ClassGain:
    evaluated, baseline = context.subject.evaluated, context.baseline
    assert evaluated
    assert evaluated.results
    assert baseline
    return scores.class_gain(evaluated.results, baseline.results)


def _draw_gain(context: AnalysisContext) -> Any:
    evaluated, baseline, gain = context.subject.evaluated, context.baseline, _gain(context)
    assert evaluated
    assert evaluated.results
    assert baseline
    names = [evaluated.results.method, baseline.results.method]
    if names[0] == names[1]:
        names = [folder.resolve().name for folder in (evaluated.path, baseline.folder)]
    unlike = "".join(f"; {key} {own} over {other}" for key, (own, other) in gain.differing.items())
    title = context.title(f"Gain of {names[0]} over {names[1]}{unlike}", baseline.results.stand_in)
    context.save("gain", plot_gain(gain, title, context.subject.label_space))
    rows = {target: dict(zip(gain.classes, row, strict=True)) for target, row in zip(gain.targets, gain.points.tolist(), strict=True)}
    miou = dict(zip(gain.targets, gain.miou.tolist(), strict=True))
    return {"baseline": str(baseline.folder), "points": rows, "miou": miou, "differing": gain.differing}


def _draw_similarity(context: AnalysisContext) -> Any:
    items = features.memory_items(context.subject.network)
    assert items is not None
    matrix = memory.memory_similarity(items)
    title = context.title("Similarity of the memory items")
    context.save("similarity", plot_memory_similarity(matrix, context.subject.label_space, title))
    return {"cosine": matrix}


def _needs_trace(context: AnalysisContext) -> str | None:
    if (reason := _needs_memory(context)) is not None:
        return reason
    run = context.subject.run
    trace = read_trace(run) if run is not None else None
    if trace is None:
        return f"there is no {FILE} in {run}" if run is not None else f"the checkpoint lies in no run folder with a {FILE}"
    return None if len(trace[0]) > 1 else f"{FILE} holds a single record"


def _draw_drift(context: AnalysisContext) -> Any:
    own = context.subject
    trace = read_trace(own.run) if own.run is not None else None
    assert trace is not None
    drift = memory.memory_drift(*trace)
    context.save("drift", plot_memory_drift(drift, own.label_space, own.step, context.title("The memory over training")))
    return {
        "steps": drift.steps,
        "first_to_final": dict(zip(own.label_space.names, drift.to_final[0].tolist(), strict=True)),
        "to_final": drift.to_final,
        "degrees_per_iteration": drift.change,
    }


def _needs_target(context: AnalysisContext) -> str | None:
    return None if context.subject.targets else "no target is among the domains"


def _draw_confusion(context: AnalysisContext) -> Any:
    """Draw the matrix of each target: the one behind the scores of the run, else that of the images at hand."""
    own, numbers = context.subject, {}
    recorded = read_confusions(own.evaluated.path) if own.evaluated else {}
    results = own.evaluated.results if own.evaluated else None
    for name, batches in own.targets.items():
        if results and name in recorded and name in results.targets:
            counts, images, protocol = recorded[name], results.targets[name].conditions.get("images"), results.protocol
        else:
            counts = scores.confusion_matrix(own.network, batches, own.protocol, own.statistics)
            images, protocol = len(batches.dataset), str(own.protocol)  # type: ignore[arg-type]
        origin = f"{images} images, {protocol}"
        title = context.title(f"Confusion on {name}, {origin}")
        context.save("confusion", plot_confusion(counts, own.label_space, title), f"confusion_{name}")
        numbers[name] = {"pixels": counts, "from": origin}
    return numbers


def _needs_two_domains(context: AnalysisContext) -> str | None:
    return None if len(context.subject.domains) > 1 else "a distance needs two domains at least"


def _draw_distance(context: AnalysisContext) -> Any:
    found = {stage: distances.domain_distances(context.features, stage) for stage in context.stages}
    if not np.isfinite(found["before"].between_domains).any():
        raise DataError("plots: distance: no class is labelled in two domains. Give more images (images=N) or other domains.")
    shown = {context.caption(stage): one for stage, one in found.items()}
    title = context.title("How far a class is from itself in other domains")
    context.save("distance", plot_domain_distances(shown, context.subject.label_space, title))
    context.save("distance", plot_domain_pairs(shown, context.title("Distance between domains")), "distance_pairs")
    return {stage: _distance_numbers(one, context.subject.label_space.names) for stage, one in found.items()}


def _distance_numbers(found: distances.DomainDistances, names: Sequence[str]) -> Mapping[str, Any]:
    columns = {key: getattr(found, key).tolist() for key in ("between_domains", "between_classes", "ratio", "noise")}
    classes = {name: {key: values[k] for key, values in columns.items()} for k, name in enumerate(names)}
    return {"overall": found.overall(), "classes": classes, "domains": found.domains, "pairs": found.pairs}


def _needs_scikit_learn(_: AnalysisContext) -> str | None:
    missing = importlib.util.find_spec("sklearn") is None
    return "scikit-learn is not installed (pip install 'pin_memory[analysis]')" if missing else None


def _draw_tsne(context: AnalysisContext) -> Any:
    panels, used = {}, {}
    for stage in context.stages:
        points = features.feature_points(context.features, stage, features.memory_items(context.subject.network, stage))
        count = len(points.vectors)
        if count < 3:
            raise DataError(
                "plots: tsne: fewer than three classes are labelled in the images. Give more images (images=N) or other domains."
            )
        panels[context.caption(stage)] = (points, features.tsne(points.vectors, context.seed, context.perplexity))
        used[stage] = {"points": count, "perplexity": features.used_perplexity(count, context.perplexity)}
    context.save("tsne", plot_tsne(panels, context.subject.label_space, context.title("Class features over domains")))
    return used


def _draw_activation(context: AnalysisContext) -> Any:
    own, shown = context.subject, {}
    for name, batches in own.domains.items():
        image, label, shown[name] = _richest(batches)
        size = (image.shape[-2], image.shape[-1])
        maps = memory.activation_maps(own.network, image, size, own.statistics)
        rows, columns = (np.arange(new) * old // new for new, old in zip(size, label.shape, strict=True))
        truth = label.numpy()[rows[:, None], columns]  # the nearest label of each pixel
        title = context.title(f"Where the memory answers: {name}")
        figure = plot_activation_maps(denormalize(image), maps, truth, own.label_space, title=title)
        context.save("activation", figure, f"activation_{name}")
    return {"images": shown}


def _richest(batches: Any) -> tuple[torch.Tensor, torch.Tensor, str]:
    """The image that shows most classes, with its label and name; the first of several."""
    best: tuple[torch.Tensor, torch.Tensor, str] | None = None
    most = -1
    for batch in batches:
        for image, label, name in zip(batch["image"], batch["label"], batch["name"], strict=True):
            count = len(set(label.unique().tolist()) - {IGNORE})
            if count > most:
                best, most = (image, label, str(name)), count
    assert best is not None
    return best


PLOTS = {
    "gain": Plot(_needs_baseline, _draw_gain),
    "similarity": Plot(_needs_memory, _draw_similarity),
    "drift": Plot(_needs_trace, _draw_drift),
    "confusion": Plot(_needs_target, _draw_confusion),
    "distance": Plot(_needs_two_domains, _draw_distance),
    "tsne": Plot(_needs_scikit_learn, _draw_tsne),
    "activation": Plot(_needs_memory, _draw_activation),
}
"""All plots, the quick ones first."""
