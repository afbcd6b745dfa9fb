"""The scores of a few-shot test for results and tables: those of each seed, and how far apart they are."""

import math
from collections.abc import Mapping
from statistics import stdev

from pin_memory.domains import EpisodeDataModule
from pin_memory.methods import MetaSegNet
from pin_memory.runs.results import Scores, TargetScores


def episode_targets(method: MetaSegNet, data: EpisodeDataModule) -> dict[str, TargetScores]:
    """The scores of each seed of the newest test, with what they depend on besides the network; all processes have to call this."""
    settings, names = data.settings, data.label_space.names
    conditions = {
        "images": settings.episodes,
        "classes": list(data.test_names),
        "episodes": {
            "way": settings.way,
            "shot": settings.shot,
            "protocol": settings.protocol,
            "queries": settings.queries or settings.rules.queries,
            "images": "targets" if data.targets else settings.tested_split,
            "min_pixels": settings.shown_from,
            "size": list(data.size),
        },
    }
    targets = {}
    for stage, counts in method.scores.items():
        known = [*(names[train_id] for train_id in counts.classes), "background"]
        iou = dict(zip(known, map(_number, counts.iou().tolist()), strict=True))
        targets[stage] = TargetScores(means={k: _number(v) for k, v in counts.compute().items()}, iou=iou, conditions=conditions)
    return targets


def spread_of(targets: Mapping[str, TargetScores]) -> Scores:
    """The standard deviation (n - 1) of each mean over the seeds; None where fewer than two are known."""
    kinds = dict.fromkeys(kind for scores in targets.values() for kind in scores.means)
    values = {kind: [value for scores in targets.values() if (value := scores.means.get(kind)) is not None] for kind in kinds}
    return {kind: stdev(known) if len(known) > 1 else None for kind, known in values.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
