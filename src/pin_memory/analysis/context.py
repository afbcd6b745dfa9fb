"""What the plots of one analysis share, and why a checkpoint may not have one of them."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.analysis import alignment, features
from pin_memory.analysis.style import save_figure
from pin_memory.analysis.subject import Subject
from pin_memory.evaluation.compared_runs import Run
from pin_memory.utils.files import file_name
from pin_memory.utils.installation import install_hint
from pin_memory.utils.traces import FILE, read_trace


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
        return {
            name: alignment.aligned_features(own.network, batches, own.alignment, own.step, own.statistics)
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
        return marked(text, self.subject.stand_in)

    def save(self, plot: str, figure: Any, name: str = "") -> None:
        """Write a figure of a plot and print where it is."""
        for path in save_figure(figure, self.folder / file_name(name or plot), self.formats):
            self.figures.setdefault(plot, []).append(path.name)
            print(f"Figure    {path}", flush=True)


def marked(title: str, stand_in: bool) -> str:
    """A title that says whether stand-ins were looked at."""
    return f"{title} (STAND-IN scenes)" if stand_in else title


def unavailable_reason(plot: str, context: AnalysisContext) -> str | None:
    """Why a checkpoint cannot have a plot; None if it can."""
    own = context.subject
    if plot in ("similarity", "structure", "drift", "activation") and own.network.memory is None:
        return f"method={own.method} has no memory"
    if plot == "structure" and own.text is None:
        return "it was trained without text"
    if plot in ("prototypes", "reliability") and (own.alignment is None or own.alignment.is_off):
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
