"""What the plots of one analysis share, and the plots one by one: what a checkpoint needs for it, its figures and its numbers."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pin_memory.analysis import distances, embedding, features, memory, scores, style
from pin_memory.analysis.feature_figures import plot_domain_distances, plot_domain_pairs, plot_tsne
from pin_memory.analysis.memory_figures import plot_activation_maps, plot_memory_drift, plot_memory_similarity
from pin_memory.analysis.score_figures import plot_confusion, plot_gain
from pin_memory.analysis.subject import Subject, read_results
from pin_memory.callbacks.memory_trace import FILE, read_trace
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import file_name
from pin_memory.utils.images import denormalize
from pin_memory.utils.labels import IGNORE

CAPTIONS = {"before": "before the memory is read", "after": "after the memory is read"}


class Desk:
    """What the plots of one analysis share: the subject, features that are computed once, the folder for what is made.

    Args:
        subject: What is analysed.
        folder: For figures.
        baseline: Folder of the run that gains are over.
        formats: Of the figures.
        perplexity: Of t-SNE.
        seed: Of t-SNE.

    Attributes:
        figures: Files by plot.
    """

    def __init__(
        self, subject: Subject, folder: Path, baseline: Path | None, formats: Sequence[str], perplexity: float = 30.0, seed: int = 0
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
    def sides(self) -> tuple[str, ...]:
        """Before and after reading; only before without a memory."""
        return ("before", "after") if self.subject.network.memory is not None else ("before",)

    def caption(self, which: str) -> str:
        """Words for a side."""
        return CAPTIONS[which] if self.subject.network.memory is not None else "encoder"

    def title(self, text: str, stand_in: bool | None = None) -> str:
        """A title that says where stand-ins were looked at."""
        return f"{text} (STAND-IN scenes)" if (self.subject.stand_in if stand_in is None else stand_in) else text

    def keep(self, plot: str, figure: Any, name: str = "") -> None:
        """Write a figure of a plot and print where it is."""
        for path in style.save_figure(figure, self.folder / file_name(name or plot), self.formats):
            self.figures.setdefault(plot, []).append(path.name)
            print(f"Figure    {path}", flush=True)


class Plot(NamedTuple):
    """A plot: why this checkpoint cannot have it (None if it can), and what draws it and returns its numbers."""

    obstacle: Callable[[Desk], str | None]
    draw: Callable[[Desk], Any]


def _needs_memory(desk: Desk) -> str | None:
    return None if desk.subject.network.memory is not None else f"method={desk.subject.method} has no memory"


def _needs_baseline(desk: Desk) -> str | None:
    if desk.baseline is None:
        return "no baseline was given (baseline=RUN)"
    if desk.subject.judged is None:
        return "there is no results.json of this checkpoint; give its run folder or that of an evaluation"
    scores.class_gain(read_results(desk.subject.judged), read_results(desk.baseline))  # a baseline that does not fit is an error
    return None


def _gain(desk: Desk) -> Any:
    assert desk.baseline is not None
    assert desk.subject.judged is not None
    results, baseline = read_results(desk.subject.judged), read_results(desk.baseline)
    gain = scores.class_gain(results, baseline)
    names = [f"{found.get('method', 'run')}" for found in (results, baseline)]
    if names[0] == names[1]:
        names = [folder.resolve().name for folder in (desk.subject.judged, desk.baseline)]
    unlike = "".join(f"; {key} {own} over {other}" for key, (own, other) in gain.differing.items())
    title = desk.title(f"Gain of {names[0]} over {names[1]}{unlike}", bool(results.get("stand_in") or baseline.get("stand_in")))
    desk.keep("gain", plot_gain(gain, title, desk.subject.label_space))
    rows = {target: dict(zip(gain.classes, row, strict=True)) for target, row in zip(gain.targets, gain.points.tolist(), strict=True)}
    miou = dict(zip(gain.targets, gain.miou.tolist(), strict=True))
    return {"baseline": str(desk.baseline.resolve()), "points": rows, "miou": miou, "differing": gain.differing}


def _similarity(desk: Desk) -> Any:
    items = features.memory_items(desk.subject.network)
    assert items is not None
    matrix = memory.memory_similarity(items)
    desk.keep("similarity", plot_memory_similarity(matrix, desk.subject.label_space, desk.title("Similarity of the memory items")))
    return {"cosine": matrix}


def _needs_trace(desk: Desk) -> str | None:
    if (reason := _needs_memory(desk)) is not None:
        return reason
    run = desk.subject.run
    trace = read_trace(run) if run is not None else None
    if trace is None:
        return f"there is no {FILE} in {run}" if run is not None else f"the checkpoint lies in no run folder with a {FILE}"
    return None if len(trace[0]) > 1 else f"{FILE} holds a single record"


def _drift(desk: Desk) -> Any:
    trace = read_trace(desk.subject.run) if desk.subject.run is not None else None
    assert trace is not None
    drift = memory.memory_drift(*trace)
    title = desk.title("The memory over training")
    desk.keep("drift", plot_memory_drift(drift, desk.subject.label_space, desk.subject.step, title))
    names = desk.subject.label_space.names
    return {
        "steps": drift.steps,
        "first_to_final": dict(zip(names, drift.to_final[0].tolist(), strict=True)),
        "to_final": drift.to_final,
        "degrees_per_iteration": drift.change,
    }


def _needs_target(desk: Desk) -> str | None:
    return None if desk.subject.targets else "no target is among the domains"


def _confusion(desk: Desk) -> Any:
    numbers = {}
    for name, (counts, origin) in _confusions(desk):
        title = desk.title(f"Confusion on {name}, {origin}")
        desk.keep("confusion", plot_confusion(counts, desk.subject.label_space, title), f"confusion_{name}")
        numbers[name] = {"pixels": counts, "from": origin}
    return numbers


def _confusions(desk: Desk) -> Iterator[tuple[str, tuple[np.ndarray, str]]]:
    """The matrix of each target: the one that the run was judged by, else that of the images at hand; and which it is."""
    own = desk.subject
    kept = scores.read_confusions(own.judged) if own.judged is not None else {}
    judged = read_results(own.judged) if own.judged is not None else {}
    for name, batches in own.targets.items():
        if name in kept and name in judged["targets"]:
            yield name, (kept[name], f"{judged['targets'][name].get('images')} images, {judged.get('protocol')}")
        else:
            counts = scores.confusion_matrix(own.network, batches, own.protocol, own.statistics)
            yield name, (counts, f"{len(batches.dataset)} images, {own.protocol}")  # type: ignore[arg-type]


def _needs_two_domains(desk: Desk) -> str | None:
    return None if len(desk.subject.domains) > 1 else "a distance needs two domains at least"


def _distance(desk: Desk) -> Any:
    found = {which: distances.domain_distances(desk.features, which) for which in desk.sides}
    if not np.isfinite(found["before"].between_domains).any():
        raise DataError("plots: distance: no class is labelled in two domains. Give more images (images=N) or other domains.")
    shown = {desk.caption(which): one for which, one in found.items()}
    title = desk.title("How far a class is from itself in other domains")
    desk.keep("distance", plot_domain_distances(shown, desk.subject.label_space, title))
    desk.keep("distance", plot_domain_pairs(shown, desk.title("Distance between domains")), "distance_pairs")
    return {which: _distance_numbers(one, desk.subject.label_space.names) for which, one in found.items()}


def _distance_numbers(found: distances.DomainDistances, names: Sequence[str]) -> Mapping[str, Any]:
    by_class = {
        name: dict(zip(("between_domains", "between_classes", "ratio", "noise"), values, strict=True))
        for name, *values in zip(names, found.between_domains.tolist(), found.between_classes.tolist(), found.ratio.tolist(),
                                 found.noise.tolist(), strict=True)
    }  # fmt: skip
    return {"overall": found.overall(), "classes": by_class, "domains": found.domains, "pairs": found.pairs}


def _needs_scikit_learn(_: Desk) -> str | None:
    missing = importlib.util.find_spec("sklearn") is None
    return "scikit-learn is not installed (pip install 'pin_memory[analysis]')" if missing else None


def _tsne(desk: Desk) -> Any:
    panels, used = {}, {}
    for which in desk.sides:
        points = features.feature_points(desk.features, which, features.memory_items(desk.subject.network, which))
        if len(points.vectors) < 3:
            raise DataError(
                "plots: tsne: fewer than three classes are labelled in the images. Give more images (images=N) or other domains."
            )
        panels[desk.caption(which)] = (points, embedding.tsne(points.vectors, desk.seed, desk.perplexity))
        count = len(points.vectors)
        used[which] = {"points": count, "perplexity": embedding.used_perplexity(count, desk.perplexity)}
    desk.keep("tsne", plot_tsne(panels, desk.subject.label_space, desk.title("Class features over domains")))
    return used


def _activation(desk: Desk) -> Any:
    own, shown = desk.subject, {}
    for name, batches in own.domains.items():
        image, label, shown[name] = _richest(batches)
        size = (image.shape[-2], image.shape[-1])
        maps = memory.activation_maps(own.network, image, size, own.statistics)
        truth = _nearest(label.numpy(), size)
        title = desk.title(f"Where the memory answers: {name}")
        figure = plot_activation_maps(denormalize(image), maps, truth, own.label_space, title=title)
        desk.keep("activation", figure, f"activation_{name}")
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


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map at another size."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, label.shape, strict=True))
    return label[rows[:, None], columns]


PLOTS = {
    "gain": Plot(_needs_baseline, _gain),
    "similarity": Plot(_needs_memory, _similarity),
    "drift": Plot(_needs_trace, _drift),
    "confusion": Plot(_needs_target, _confusion),
    "distance": Plot(_needs_two_domains, _distance),
    "tsne": Plot(_needs_scikit_learn, _tsne),
    "activation": Plot(_needs_memory, _activation),
}
"""All plots, the quick ones first."""
