"""The scores of a run as a table: a row per class, then the means; a column per target, then their mean."""

from collections.abc import Iterable

from pin_memory.runs.results import Results, kind_label, known_mean
from pin_memory.utils.tables import STAND_IN_NOTE, Cell, Score, Table


def score_table(results: Results, class_gains: bool = False) -> Table:
    """The IoU of a run in percent with its floors and its gain; `class_gains` adds a section with the gain of each class."""
    targets = list(results.targets.values())
    names = list(dict.fromkeys(name for target in targets for name in target.iou))
    classes: list[list[Cell]] = [[name, *(Score(target.iou.get(name)) for target in targets), ""] for name in names]
    means = [_mean_row(kind_label(kind), (target.means.get(kind) for target in targets)) for kind in results.kinds()]
    means += [_mean_row(name, (floor.get(target) for target in results.targets)) for name, floor in (results.floors or {}).items()]
    sections = [classes, means]
    if gain := results.gain:
        gained = [gain.targets.get(name) for name in results.targets]
        for kind in results.kinds():
            values = [scores.means.get(kind) if scores else None for scores in gained]
            mean = None if gain.mean_miou is None else known_mean(values)  # None: the two runs have no mean of the same targets
            means.append([f"gain, {kind_label(kind)}", *(Score(value, signed=True) for value in (*values, mean))])
        if class_gains:
            rows = [(name, [scores.iou.get(name) if scores else None for scores in gained]) for name in names]
            sections.append([[f"gain, {name}", *(Score(value, signed=True) for value in row), ""] for name, row in rows])
    return Table(_caption(results), ["IoU in %", *results.titles, "mean"], sections)


def baseline_name(results: Results) -> str:
    """The name of the run that a gain is over, with its statistics of batch norm where these are others."""
    assert results.gain
    name, there, here = results.gain.baseline, results.gain.statistics, results.statistics
    return f"{name} (statistics of batch norm there: {there}; here: {here})" if there and here and there != here else name


def _mean_row(label: str, values: Iterable[float | None]) -> list[Cell]:
    """One mIoU per target, and their unweighted mean."""
    values = list(values)
    return [label, *map(Score, values), Score(known_mean(values))]


def _caption(results: Results) -> list[str]:
    """How the numbers came about."""
    statistics = None if results.statistics == "running" else results.statistics  # the usual ones are not named
    facts = {
        "method": results.method, "network": results.network, "sources": ", ".join(results.sources), "protocol": results.protocol,
        "statistics": statistics, "selection": results.selection,
    }  # fmt: skip
    lines = [f"{name:<10} {value}" for name, value in facts.items() if value]
    if validation := results.source_validation:
        scores = ", ".join(f"{name} {Score(value).shown()}" for name, value in validation.items())
        lines.append(f"sources' validation mIoU in %: {scores}")
    views = {name: target.conditions.get("view", "native") for name, target in results.targets.items()}
    if others := [f"{name} {view}" for name, view in views.items() if view != "native"]:
        lines.append(f"evaluation view: {', '.join(others)}")
    if corrupted := [scores for scores in results.targets.values() if scores.conditions.get("corruption")]:
        mean = Score(known_mean(scores.miou for scores in corrupted)).shown()
        lines.append(f"mean mIoU over {len(corrupted)} corrupted targets in %: {mean}")
    if results.spread:
        means = {kind: (results.mean(kind), spread) for kind, spread in results.spread.items() if spread is not None}
        shown = ", ".join(f"{kind_label(kind)} {Score(mean).shown()} ± {Score(spread).shown()}" for kind, (mean, spread) in means.items())
        lines.append(f"over {len(results.targets)} seeds, mean ± standard deviation in %: {shown}")
    if results.gain:
        lines.append(f"gain over  {baseline_name(results)}")
    return [*lines, STAND_IN_NOTE] if results.stand_in else lines
