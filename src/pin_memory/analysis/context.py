"""What the plots of one analysis share."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pin_memory.analysis import features, style
from pin_memory.analysis.subject import Subject
from pin_memory.evaluation.compared_runs import Run
from pin_memory.utils.files import file_name

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
