"""The plots one by one: why a checkpoint may not have one, its figures and its numbers."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.analysis import alignment, features, memory, scores
from pin_memory.analysis.alignment_figures import plot_reliability
from pin_memory.analysis.distances import domain_distances
from pin_memory.analysis.feature_figures import plot_domain_distances, plot_domain_pairs, plot_tsne
from pin_memory.analysis.memory_figures import plot_activation_maps, plot_class_structure, plot_memory_drift, plot_memory_similarity
from pin_memory.analysis.style import save_figure
from pin_memory.analysis.subject import Subject
from pin_memory.callbacks.memory_trace import FILE, read_trace
from pin_memory.evaluation.compared_runs import Run
from pin_memory.runs.results import read_confusions
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import file_name
from pin_memory.utils.images import denormalize
from pin_memory.utils.installation import install_hint
from pin_memory.utils.labels import IGNORE

_TOO_FEW = "Give more images (images=N) or other domains."


@dataclass
class AnalysisContext:
    """What the plots of one analysis share."""

    subject: Subject
    folder: Path
    baseline: Run | None  # that gains are over
    formats: Sequence[str]
    perplexity: float = 30.0
    seed: int = 0
    figures: dict[str, list[str]] = field(default_factory=dict)  # names of the written files by plot

    @cached_property
    def features(self) -> dict[str, features.ClassFeatures]:
        """Class features of every domain."""
        own = self.subject
        return {name: features.class_features(own.network, batches, own.statistics) for name, batches in own.domains.items()}

    @cached_property
    def aligned(self) -> dict[str, alignment.AlignedFeatures]:
        """What the alignment with text makes of every domain."""
        own = self.subject
        assert own.alignment is not None
        rho, temperature = own.alignment.rho(own.step), own.alignment.reliability_temperature
        return {
            name: alignment.aligned_features(own.network, batches, rho, temperature, own.statistics)
            for name, batches in own.domains.items()
        }

    @cached_property
    def trace(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Iterations `(T,)` and memory items `(T, K, C)` of the training; None without a record."""
        return None if self.subject.run is None else read_trace(self.subject.run)

    @property
    def stages(self) -> dict[str, str]:
        """Where features are taken, and how figures name it."""
        if self.subject.network.memory is None:
            return {"before": "encoder"}
        return {"before": "before the memory is read", "after": "after the memory is read"}

    def title(self, text: str) -> str:
        """A title that says where stand-ins were looked at."""
        return _marked(text, self.subject.stand_in)

    def save(self, plot: str, figure: Any, name: str = "") -> None:
        """Write a figure of a plot and print where it is."""
        for path in save_figure(figure, self.folder / file_name(name or plot), self.formats):
            self.figures.setdefault(plot, []).append(path.name)
            print(f"Figure    {path}", flush=True)


def _marked(title: str, stand_in: bool) -> str:
    return f"{title} (STAND-IN scenes)" if stand_in else title


def unavailable_reason(plot: str, context: AnalysisContext) -> str | None:
    """Why a checkpoint cannot have a plot; None if it can."""
    own = context.subject
    if plot in ("similarity", "structure", "drift", "activation") and own.network.memory is None:
        return f"method={own.method} has no memory"
    if plot == "structure" and own.text is None:
        return "it was trained without text"
    if plot in ("prototypes", "reliability") and own.alignment is None:
        return f"method={own.method} was trained without alignment with text"
    if plot == "drift" and context.trace is None:
        return f"the checkpoint lies in no run folder with a {FILE}" if own.run is None else f"there is no {FILE} in {own.run}"
    if plot == "drift" and context.trace and len(context.trace[0]) < 2:
        return f"{FILE} holds a single record"
    if plot == "gain" and context.baseline is None:
        return "no baseline was given (baseline=RUN)"
    if plot == "gain" and own.evaluated is None:
        return "there is no results.json of this checkpoint; give its run folder or that of an evaluation"
    if plot == "confusion" and not own.targets:
        return "no target is among the domains"
    if plot == "distance" and len(own.domains) < 2:
        return "a distance needs two domains at least"
    if plot in ("tsne", "prototypes") and importlib.util.find_spec("sklearn") is None:
        return f"scikit-learn is not installed ({install_hint('analysis')})"
    return None


def _gain(context: AnalysisContext) -> Any:
    own, baseline = context.subject.evaluated, context.baseline
    assert own is not None
    assert baseline is not None
    gain = scores.class_gain(own.results, baseline.results)
    names = [run.results.method for run in (own, baseline)]
    if names[0] == names[1]:
        names = [run.folder.resolve().name for run in (own, baseline)]
    unlike = "".join(f"; {key} {one} over {other}" for key, (one, other) in gain.differing.items())
    title = _marked(f"Gain of {names[0]} over {names[1]}{unlike}", baseline.results.stand_in)
    context.save("gain", scores.plot_gain(gain, title, context.subject.label_space))
    rows = {target: dict(zip(gain.classes, row, strict=True)) for target, row in zip(gain.targets, gain.points.tolist(), strict=True)}
    miou = dict(zip(gain.targets, gain.miou.tolist(), strict=True))
    return {"baseline": str(baseline.folder), "points": rows, "miou": miou, "differing": gain.differing}


def _similarity(context: AnalysisContext) -> Any:
    matrix = memory.memory_similarity(context.subject.network.require_memory().items)
    title = context.title("Similarity of the memory items")
    context.save("similarity", plot_memory_similarity(matrix, context.subject.label_space, title))
    return {"cosine": matrix}


def _structure(context: AnalysisContext) -> Any:
    own = context.subject
    assert own.text is not None
    text, found = own.text.double().cpu().numpy(), memory.class_structure(own.network.require_memory().directions)
    agreement = memory.structure_agreement(text, found)
    title = context.title("How the classes lie to each other")
    panels = {"text": text, f"memory (cosine to text {agreement:.2f})": found}
    context.save("structure", plot_class_structure(panels, own.label_space, title))
    return {"text": text, "memory": found, "cosine": agreement}


def _drift(context: AnalysisContext) -> Any:
    own = context.subject
    assert context.trace is not None
    drift = memory.memory_drift(*context.trace)
    context.save("drift", plot_memory_drift(drift, own.label_space, own.step, context.title("The memory over training")))
    return {
        "steps": drift.steps,
        "first_to_final": dict(zip(own.label_space.names, drift.to_final[0].tolist(), strict=True)),
        "to_final": drift.to_final,
        "degrees_per_iteration": drift.change,
    }


def _confusion(context: AnalysisContext) -> Any:
    """Draw the matrix of each target: the one behind the scores of the run, else that of the images at hand."""
    own, numbers = context.subject, {}
    recorded = read_confusions(own.evaluated.folder) if own.evaluated else {}
    for name, batches in own.targets.items():
        if own.evaluated and name in recorded and name in own.evaluated.results.targets:
            counts, results = recorded[name], own.evaluated.results
            images, protocol = results.targets[name].conditions.get("images"), results.protocol
        else:
            counts = scores.confusion_matrix(own.network, batches, own.protocol, own.statistics)
            images, protocol = len(batches.dataset), str(own.protocol)  # type: ignore[arg-type]
        origin = f"{images} images, {protocol}"
        title = context.title(f"Confusion on {name}, {origin}")
        context.save("confusion", scores.plot_confusion(counts, own.label_space, title), f"confusion_{name}")
        numbers[name] = {"pixels": counts, "from": origin}
    return numbers


def _distance(context: AnalysisContext) -> Any:
    space, found = context.subject.label_space, {stage: domain_distances(context.features, stage) for stage in context.stages}
    if not np.isfinite(found["before"].between_domains).any():
        raise DataError(f"plots: distance: no class is labelled in two domains. {_TOO_FEW}")
    shown = {context.stages[stage]: one for stage, one in found.items()}
    title = context.title("How far a class is from itself in other domains")
    context.save("distance", plot_domain_distances(shown, space, title))
    context.save("distance", plot_domain_pairs(shown, context.title("Distance between domains")), "distance_pairs")
    numbers = {}
    for stage, one in found.items():
        columns = {key: getattr(one, key).tolist() for key in ("between_domains", "between_classes", "ratio", "noise")}
        classes = {name: {key: values[k] for key, values in columns.items()} for k, name in enumerate(space.names)}
        numbers[stage] = {"overall": one.overall(), "classes": classes, "domains": one.domains, "pairs": one.pairs}
    return numbers


def _tsne(context: AnalysisContext) -> Any:
    panels, used = {}, {}
    for stage, caption in context.stages.items():
        points = features.feature_points(context.features, stage, features.memory_items(context.subject.network, stage))
        count = len(points.vectors)
        if count < 3:
            raise DataError(f"plots: tsne: fewer than three classes are labelled in the images. {_TOO_FEW}")
        panels[caption] = (points, features.tsne(points.vectors, context.seed, context.perplexity))
        used[stage] = {"points": count, "perplexity": features.used_perplexity(count, context.perplexity)}
    context.save("tsne", plot_tsne(panels, context.subject.label_space, context.title("Class features over domains")))
    return used


def _prototypes(context: AnalysisContext) -> Any:
    """Lay out projected features, text, and text that has looked at the images of all domains."""
    own, text = context.subject, context.subject.network.require_alignment().prototypes.double().cpu().numpy()
    points = alignment.aligned_points(context.aligned, text)
    count = len(points.vectors)
    panel = (points, features.tsne(points.vectors, context.seed, context.perplexity))
    title = context.title("Projected features and text")
    context.save("prototypes", plot_tsne({"features in the space of the text": panel}, own.label_space, title))
    near = {name: alignment.nearness(found, text) for name, found in context.aligned.items()}
    used = {"points": count, "perplexity": features.used_perplexity(count, context.perplexity)}
    return used | {"cosines": {name: dict(zip(own.label_space.names, rows, strict=True)) for name, rows in near.items()}}


def _reliability(context: AnalysisContext) -> Any:
    """Draw which pixels the method trusts in the image of each domain that shows most classes."""
    own, shown, numbers = context.subject, {}, {}
    assert own.alignment is not None
    for domain, batches in own.domains.items():
        image, truth, name = _richest(batches)
        found = alignment.reliability_map(own.network, image, truth, own.alignment, own.step, own.statistics)
        title = context.title(f"What is trusted: {domain}")
        context.save("reliability", plot_reliability(denormalize(image), truth, found, own.label_space, title), f"reliability_{domain}")
        means = dict(zip(own.label_space.names, context.aligned[domain].class_reliability.tolist(), strict=True))
        shown[domain], numbers[domain] = name, {"mean": context.aligned[domain].mean_reliability, "classes": means}
    return {"images": shown, "reliability": numbers}


def _richest(batches: Any) -> tuple[Any, np.ndarray, str]:
    """The image of a loader that shows most classes, the first of several, its labels `(H, W)` at its size, and its name."""
    samples = (sample for batch in batches for sample in zip(batch["image"], batch["label"], batch["name"], strict=True))
    image, label, name = max(samples, key=lambda sample: len(set(sample[1].unique().tolist()) - {IGNORE}))
    rows, columns = (np.arange(new) * old // new for new, old in zip(image.shape[-2:], label.shape, strict=True))
    return image, label.numpy()[rows[:, None], columns], str(name)  # the nearest label of each pixel


def _activation(context: AnalysisContext) -> Any:
    """Draw, of each domain, the image that shows most classes."""
    own, shown, measure = context.subject, {}, context.subject.network.require_memory().measure
    for domain, batches in own.domains.items():
        image, truth, name = _richest(batches)
        maps = memory.activation_maps(own.network, image, (image.shape[-2], image.shape[-1]), own.statistics)
        title = context.title(f"Where the memory answers: {domain}")
        figure = plot_activation_maps(denormalize(image), maps, truth, own.label_space, title=title, measure=measure)
        context.save("activation", figure, f"activation_{domain}")
        shown[domain] = name
    return {"images": shown}


PLOTS: dict[str, Callable[[AnalysisContext], Any]] = {
    "gain": _gain,
    "similarity": _similarity,
    "structure": _structure,
    "drift": _drift,
    "confusion": _confusion,
    "distance": _distance,
    "tsne": _tsne,
    "activation": _activation,
    "prototypes": _prototypes,
    "reliability": _reliability,
}
"""What draws each plot and returns its numbers, the quick ones first."""
