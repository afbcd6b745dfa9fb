"""Runs next to each other: put together over their seeds, and the gain over a baseline.

A row of a comparison stands for the runs that differ in nothing but the seed. Scores that were measured in different ways (protocol,
evaluation view, classes, images of a target) never become one number.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from pin_memory.evaluation.compare_tables import FORMATS, comparison_tables, write_comparison
from pin_memory.evaluation.compared_runs import Run, read_runs, refuse_mixture
from pin_memory.evaluation.gains import gain_between
from pin_memory.evaluation.left_out import merge_folds
from pin_memory.evaluation.rows import CONTEXT, Row, find_baseline, make_rows
from pin_memory.runs.own_folder import refuse_run
from pin_memory.runs.results import CONDITIONS
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.tables import check_formats


def compare_runs(cfg: DictConfig) -> dict[str, Any]:
    """The command `compare`: read runs, print one table, write the files."""
    formats = check_formats(cfg.formats, "formats", tuple(FORMATS))
    output = None if cfg.output is None else Path(str(cfg.output)).expanduser()
    if output is not None:
        refuse_run(output)
    runs = read_runs(list(cfg.runs) if isinstance(cfg.runs, ListConfig) else str(cfg.runs))
    if not isinstance(cfg.names, DictConfig | None):
        raise ConfigurationError(
            f'names={cfg.names}: expected names by method or variant, in quotes for the shell: names="{{erm: Plain training}}". A name'
            " with brackets or a comma has quotes of its own: names=\"{erm: 'Plain (ours)'}\"."
        )
    names = {str(name): str(shown) for name, shown in (cfg.names or {}).items()}
    comparison = compare(runs, None if cfg.baseline is None else str(cfg.baseline), bool(cfg.over_seeds), names)
    show_comparison(comparison, output, formats)
    return comparison


def show_comparison(comparison: dict[str, Any], folder: Path | None, formats: Sequence[str]) -> None:
    """Print the table of a comparison, write its files and print where they are."""
    for table in comparison_tables(comparison):
        print(f"\n{table.text()}\n")
    for path in write_comparison(comparison, folder, formats) if folder else ():
        print(f"Wrote     {path}")


def compare(
    runs: Sequence[Run], baseline: str | None = None, over_seeds: bool = True, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Put runs together over their seeds and next to each other.

    Args:
        runs: What `read_runs` returns.
        baseline: Method, experiment, label or folder of what the others are compared with; where several rows have that name, each row
            is compared with the one of its own network, sources, protocol and statistics.
        over_seeds: False gives every run a row of its own; otherwise runs that each leave out another domain are one row, too.
        names: Of methods and variants in tables, by those of the library; the baseline may be given by either.

    Returns:
        Plain values, which `comparison.json` holds. `rows`: each with its facts, `seeds`, `folders`, `targets` (of each: `miou` and the
        further means, `iou` by class, how it was evaluated), `mean_miou`, `means` (of all kinds, over the targets) and `gain` (None for
        the baseline itself and without one; else `baseline`, `paired`, `seeds`, `targets`, `mean_miou`, `means`, `source_validation` and
        `test`, as `gains.paired_test` returns it), `source_validation`, `step_seconds` and `peak_bytes` (mean and largest). Every score is
        `{"mean", "std", "n", "values"}`: fractions, the sample standard deviation (None for one seed), `values` by seed. Next to the
        rows `targets`, their `titles` (those that were added to an evaluation say so), `classes`, `stand_in`, `baseline`, `over_seeds`,
        and `notes`: what a reader must know before comparing.

    Raises:
        ConfigurationError: No run, stand-in scores next to real ones, or a baseline that is none of the rows or not clear, or
            `names` for what was not run.
    """
    if not runs:
        raise ConfigurationError("There is no run to compare.")
    refuse_mixture({str(run.folder): run.results for run in runs})
    runs, notes = merge_folds(runs) if over_seeds else (runs, [])
    rows, noted = make_rows(runs, over_seeds, names)
    notes += noted
    if baseline:
        baseline, noted = _add_gains(rows, baseline, names or {})
        notes += noted
    targets = list(dict.fromkeys(name for row in rows for name in row.targets))
    titles = {name: next((one for row in rows if (one := row.titles.get(name, name)) != name), name) for name in targets}
    notes += _notes(rows, targets)
    return {
        "stand_in": runs[0].results.stand_in,
        "baseline": baseline,
        "over_seeds": over_seeds,
        "targets": targets,
        "titles": titles,
        "classes": list(dict.fromkeys(name for row in rows for target in row.targets.values() for name in target.iou)),
        "rows": [row.to_json() for row in rows],
        "notes": list(dict.fromkeys(notes)),
    }


def _add_gains(rows: Sequence[Row], baseline: str, names: Mapping[str, str]) -> tuple[str, list[str]]:
    """Give each row its gain over the baseline, which has the library's name or one of `names`; its name in tables, and notes."""
    own = {shown: name for name, shown in names.items()}.get(baseline, baseline)
    shown, notes = names.get(own, baseline), []
    for row in rows:
        base = find_baseline(own, rows, row)
        notes += _gain_notes(row, base, shown)
        row.gain = gain_between(row, base) if base and base is not row else None
    return shown, notes


def _gain_notes(row: Row, base: Row | None, baseline: str) -> list[str]:
    """What has to be known about a row's gain."""
    if base is row:
        return []
    if base is None:
        return [f"no gain for {row.label}: no row of {baseline} has its {', '.join(CONTEXT[:-1])} and {CONTEXT[-1]}"]
    notes = []
    if differing := [fact for fact in ("network", "sources", "statistics", "selection") if row.facts[fact] != base.facts[fact]]:
        notes.append(f"the gain of {row.label} is over a row of other {' and '.join(differing)}")
    if not row.runs.keys() & base.runs.keys():
        notes.append(f"the gain of {row.label} is the difference of two means: it has no seed in common with {base.label}")
    for name, scores in row.targets.items():
        other = base.targets.get(name)
        if other is None or row.facts["protocol"] != base.facts["protocol"] or scores.differing(other):
            notes.append(
                f"no gain for {row.label} on {name}: {base.label} was not evaluated on it in the same way (protocol, view, classes)"
            )
    return notes


def _notes(rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    """What keeps rows from being compared with each other."""
    notes = []
    if len(protocols := dict.fromkeys(row.facts["protocol"] for row in rows)) > 1:
        notes.append(f"rows of different protocols cannot be compared with each other: {', '.join(protocols)}")
    if len({tuple(sorted(row.targets)) for row in rows}) > 1:
        notes.append("rows were evaluated on different targets: their means over the targets cannot be compared")
    for row in rows:
        if added := [name for name, title in row.titles.items() if title != name]:
            notes.append(f"{', '.join(added)} added to the evaluation of {row.label}: no target of its training run")
    for name in targets:
        conditions = [row.targets[name].conditions for row in rows if name in row.targets]
        if differing := [key for key in CONDITIONS if len({repr(one.get(key)) for one in conditions}) > 1]:
            notes.append(f"scores on {name} cannot be compared across rows: they differ in {', '.join(differing)}")
    return notes


__all__ = ["compare", "compare_runs", "read_runs"]
