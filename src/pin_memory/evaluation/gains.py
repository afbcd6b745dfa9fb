"""The gain of one row of a comparison over another: over the differences of equal seeds, with a test of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from pin_memory.evaluation.rows import Row, Spread, combined, over_seeds
from pin_memory.runs.image_scores import ImageScores, read_image_scores
from pin_memory.runs.results import Gain, difference, gain_over


def gain_between(row: Row, base: Row) -> dict[str, Any]:
    """The gain of a row over another: the mean of the differences of equal seeds; without any the difference of the means.

    `targets` has None for one that was not evaluated in the same way; `means` is empty unless all targets are comparable.
    """
    seeds = [seed for seed in row.runs if seed in base.runs]
    pairs = {seed: (row.results[seed], base.results[seed]) for seed in seeds} or {"": (row.mean_results(), base.mean_results())}
    combine = over_seeds if seeds else _without_seeds
    gains = {seed: gain_over(own, other, base.label) for seed, (own, other) in pairs.items()}
    targets: dict[str, Any] = {}
    for name in row.targets:
        differences = {seed: scores for seed, gain in gains.items() if (scores := gain.targets[name])}
        targets[name] = combined(differences, combine) if differences else None
    complete = row.targets.keys() == base.targets.keys() and all(targets.values())
    means = {
        kind: combine({seed: difference(own.mean(kind), other.mean(kind)) for seed, (own, other) in pairs.items()})
        for kind in row.kinds
        if complete and kind in base.kinds
    }
    found = {"baseline": base.label, "paired": bool(seeds), "seeds": seeds, "targets": targets}
    sources = combine({seed: difference(row.source_validation.get(seed), base.source_validation.get(seed)) for seed in seeds} or {"": None})
    found |= {"source_validation": sources, "test": paired_test(gains.values()) if seeds else None}
    found |= {"image_test": image_test(row, base, seeds, [name for name, scores in targets.items() if scores])}
    return found | {"mean_miou": means.get("miou"), "means": means}


def paired_test(gains: Iterable[Gain]) -> dict[str, Any] | None:
    """Wilcoxon's signed-rank test, two-sided, of the gains in mIoU on each target with each seed; None where no target is comparable.

    `pairs` differences, of which so many are `better`, and the probability `p` of signed ranks as uneven as theirs or more, if gains were
    symmetric around 0 (None where all are 0). Pairs of one seed or target have images in common, so p is on the small side.
    """
    found = [scores.miou for gain in gains for scores in gain.targets.values() if scores is not None]
    return _signed_ranks([value for value in found if value is not None])


def image_test(row: Row, base: Row, seeds: Sequence[str], targets: Sequence[str]) -> dict[str, Any] | None:
    """The same test of the gains on single images, each the mean over the seeds; None without images that both rows have scores of."""
    differences: dict[tuple[str, str], list[float]] = {}
    for seed in seeds:
        own, other = (_image_scores(one, seed) for one in (row, base))
        for target in targets:
            for name in own.get(target, {}).keys() & other.get(target, {}).keys():
                if not math.isnan(gain := own[target][name] - other[target][name]):
                    differences.setdefault((target, name), []).append(gain)
    return _signed_ranks([mean(values) for values in differences.values()])


def _image_scores(row: Row, seed: str) -> ImageScores:
    """The image scores of a row's run, or of the folds that it was merged from."""
    run = row.runs[seed]
    return {target: scores for folder in run.folders or (run.folder,) for target, scores in read_image_scores(folder).items()}


def _signed_ranks(differences: Sequence[float]) -> dict[str, Any] | None:
    """Wilcoxon's signed-rank test of differences; None without any."""
    from scipy.stats import wilcoxon  # which takes most of a second to import

    if not differences:
        return None
    p = float(wilcoxon(differences).pvalue) if any(differences) else None
    return {"pairs": len(differences), "better": sum(value > 0 for value in differences), "p": p}


def _without_seeds(values: Mapping[str, float | None]) -> Spread:
    """A difference of two means, which has no spread."""
    return {"mean": next(iter(values.values())), "std": None, "n": 0, "values": {}}
