"""The plots one by one: their figures and their numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pin_memory.analysis import alignment, features, memory, scores
from pin_memory.analysis.alignment_figures import plot_reliability
from pin_memory.analysis.calibration import calibration, plot_calibration
from pin_memory.analysis.context import AnalysisContext, marked
from pin_memory.analysis.distances import domain_distances
from pin_memory.analysis.feature_figures import plot_domain_distances, plot_domain_pairs, plot_tsne
from pin_memory.analysis.memory_figures import plot_activation_maps, plot_class_structure, plot_memory_drift, plot_memory_similarity
from pin_memory.runs.results import read_confusions
from pin_memory.utils.errors import DataError
from pin_memory.utils.images import denormalize
from pin_memory.utils.labels import IGNORE

_TOO_FEW = "Give more images (images=N) or other domains."


def _gain(context: AnalysisContext) -> Any:
    own, baseline = context.subject.evaluated, context.baseline
    assert own is not None
    assert baseline is not None
    gain = scores.class_gain(own.results, baseline.results)
    names = [run.results.method for run in (own, baseline)]
    if names[0] == names[1]:
        names = [run.folder.resolve().name for run in (own, baseline)]
    unlike = "".join(f"; {key} {one} over {other}" for key, (one, other) in gain.differing.items())
    title = marked(f"Gain of {names[0]} over {names[1]}{unlike}", baseline.results.stand_in)
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


def _calibration(context: AnalysisContext) -> Any:
    """Draw accuracy over confidence on the images of all domains."""
    own = context.subject
    found = {name: calibration(own.network, batches, own.protocol, own.statistics) for name, batches in own.domains.items()}
    context.save("calibration", plot_calibration(found, context.title("How far confidence can be trusted")))
    return {
        name: {"error": one.error, "overconfidence": one.overconfidence, "pixels": one.pixels}
        | {"confidence": one.confidence, "accuracy": one.accuracy}
        for name, one in found.items()
    }


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
    """Draw how reliable the labels are in the image of each domain that shows most classes: what the method weighs by."""
    own, shown, numbers = context.subject, {}, {}
    assert own.alignment is not None
    for domain, batches in own.domains.items():
        image, truth, name = _richest(batches)
        found = alignment.reliability_map(own.network, image, truth, own.alignment, own.step, own.statistics)
        title = context.title(f"How reliable labels are: {domain}")
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
    "calibration": _calibration,
    "distance": _distance,
    "tsne": _tsne,
    "activation": _activation,
    "prototypes": _prototypes,
    "reliability": _reliability,
}
"""What draws each plot and returns its numbers, the quick ones first."""
