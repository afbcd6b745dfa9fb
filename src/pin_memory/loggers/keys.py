"""Everything that a training logs, in one table: docs/reference/logged_keys.md is made of it, and tests compare it with runs."""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

STEPS, VALIDATION, MEMORY = "every `trainer.log_every_n_steps`", "every validation", "every validation, end of training"
BEST, TEST, AFTER_TEST, START = "every validation, in the summary", "test", "after the test", "start"
IN_SUMMARY = "after the test, in the summary"

_PLACEHOLDER = re.compile(r"<(\w+)>")
_STEP = r"(?:inner_|outer_)?"


class Row(NamedTuple):
    """Keys that are logged together.

    Attributes:
        keys: Their names; `<source>`, `<target>` and `<class>` stand for names, `<step>` for `inner_`, `outer_` or nothing.
        when: When they are logged.
        meaning: What they are.
        section: The section of a dashboard that they are shown in; "" for none.
        panel: The title of the panel; rows of one title share it.
        plot: The kind of the panel.
    """

    keys: tuple[str, ...]
    when: str
    meaning: str
    section: str = ""
    panel: str = ""
    plot: str = ""


SECTIONS = ("Runs", "Sources", "Losses", "Targets", "Memory", "Classes", "Panels", "System")
"""The sections of a dashboard in their order; the first is the table of runs."""
_RUNS, _SOURCES, _LOSSES, _TARGETS, _MEMORY, _CLASSES, _PANELS, _SYSTEM = SECTIONS

LINE, LOG_LINE, SCORE_LINE = "line plot", "line plot, logarithmic y", "line plot, max of y at 1"
COLUMNS, BARS, CHART, TABLE = "runs table", "bars of the runs", "bar chart", "table"
MEDIA, MEDIA_STEPS = "media, masks on", "media, slider over steps"

ROWS = (
    Row(("method_name", "network_name"), START, "configuration: the method and the network of the classes that ran", _RUNS,
        "methods and seeds", COLUMNS),
    Row(("choices", "provenance"), START, "configuration: the option of each group; revision, versions and platform"),
    Row(("loss/total",), STEPS, "what the iteration's gradient is of: all terms with their weights, of both steps of meta-learning methods",
        _LOSSES, "losses", LINE),
    Row(("loss/inner", "loss/outer"), STEPS, "losses of the inner and the outer step (meta-learning methods)", _LOSSES, "losses", LINE),
    Row(("loss/<step>segmentation", "loss/<step>auxiliary", "loss/<step>cohesion"), STEPS,
        "their terms; without `inner_` and `outer_` for methods of one step", _LOSSES, "terms of the steps", LINE),
    Row(("loss/divergence", "loss/classification"), STEPS, "losses of the memory", _LOSSES, "losses of the memory", LINE),
    Row(("loss/structure",), STEPS, "how far the items lie to each other from what [text](../text.md#memory-from-text) says; with"
        " `method.weights.structure`", _LOSSES, "losses of the memory", LINE),
    Row(("loss/<step>whitening",), STEPS, "loss of RobustNet's whitening", _LOSSES, "terms of the steps", LINE),
    Row(("loss/<step>otp", "loss/<step>vtp", "loss/<step>regulariser"), STEPS,
        "[alignment with text](../alignment.md): with the text, with text that has looked at the image, and"
        " of that text with its class", _LOSSES, "alignment with text", LINE),
    Row(("alignment/share", "alignment/ramp"), STEPS,
        "share of each class's cells that is aligned, and how far text that has looked at the image is in"),
    Row(("reliability/<step>mean", "reliability/<step>min", "reliability/<step>mean_<source>", "reliability/<step>min_<source>"), STEPS,
        "how reliable labels of cells are, in the mean and at least, over the sources of a pass and of each", _LOSSES, "reliability", LINE),
    Row(("lr", "inner_lr"), STEPS, "learning rates of the outer and of the inner step", _SYSTEM, "learning rates", LOG_LINE),
    Row(("grad_norm/total", "grad_norm/inner"), STEPS, "length of the gradient that the optimiser steps on, and of the inner step's",
        _SYSTEM, "gradients", LOG_LINE),
    Row(("fast_weights/norm", "fast_weights/step_norm"), STEPS, "length of the fast weights Θ' and of the step Θ' - Θ", _SYSTEM,
        "fast weights", LOG_LINE),
    Row(("ridge/lambda", "ridge/scale", "ridge/pivot_ratio"), STEPS,
        "λ and α of the [ridge head](../ridge_head.md), and how badly conditioned its newest system was (1 is best)",
        _MEMORY, "ridge head", LOG_LINE),
    Row(("skipped/steps", "skipped/memory_writes"), STEPS, "what was left out so far, as numbers were not finite; with"
        " `method.on_non_finite=skip`", _SYSTEM, "left out", LINE),
    Row(("time/step", "time/data_wait"), STEPS, "mean seconds of an iteration, and of waiting for its images", _SYSTEM, "seconds", LINE),
    Row(("val/miou",), VALIDATION, "mean IoU on the sources' validation splits, 0..1; the summary has its best", _SOURCES,
        "source validation", SCORE_LINE),
    Row(("val/miou_<source>",), VALIDATION, "of each source; of few-shot segmentation `episodes`", _SOURCES, "source validation",
        SCORE_LINE),
    Row(("val/fb_iou",), VALIDATION, "IoU of foreground and background (few-shot segmentation)"),
    Row(("val/best_step",), BEST, "finished iterations at the best `val/miou`", _RUNS, "best validation", COLUMNS),
    Row(("memory/similarity",), MEMORY, "heat map of the cosine similarity of the memory items", _MEMORY, "similarity of the classes",
        MEDIA_STEPS),
    Row(("memory/mean_similarity",), MEMORY, "its mean over pairs of different classes", _MEMORY, "mean similarity", LINE),
    Row(("panels/<target>",), TEST, "pictures with the masks `ground truth` and `prediction`, whose classes can be switched on and off",
        _PANELS, "pictures", MEDIA),
    Row(("test/classes",), AFTER_TEST, "table: IoU by class and target, 0..1", _CLASSES, "per-class IoU", TABLE),
    Row(("test/targets",), AFTER_TEST, "table: a row per target with its means, the floors, the images, and whether they are STAND-INs",
        _TARGETS, "means and floors", TABLE),
    Row(("test/miou",), AFTER_TEST, "bar chart of the targets, 0..1", _TARGETS, "targets", CHART),
    Row(("test/iou_<target>",), AFTER_TEST, "bar chart of the classes, 0..1", _CLASSES, "classes of each target", CHART),
    Row(("test/mean_miou", "test/miou_<target>"), IN_SUMMARY, "mean IoU over the targets and of each, 0..1", _TARGETS,
        "scores of the runs", BARS),
    Row(("test/iou_<target>/<class>",), IN_SUMMARY, "IoU of each class of each target, 0..1"),
    Row(("test/protocol", "test/selection", "test/note"), IN_SUMMARY, "how was evaluated, which checkpoint, and the note on STAND-INs"),
)  # fmt: skip
"""What is logged, in the order of the documentation."""


def find(key: str) -> Row | None:
    """The row that a logged key belongs to; None for one that is not in the table."""
    exact = next((row for row in ROWS if key in row.keys), None)
    return exact or next((row for row in ROWS for pattern in row.keys if expression(pattern).fullmatch(key)), None)


def logged_table() -> str:
    """The table of what is logged, in Markdown."""
    return "\n".join(["| key | when | what |", "|---|---|---|", *(f"| {_code(row.keys)} | {row.when} | {row.meaning} |" for row in ROWS)])


def panels() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The panels of a dashboard in the order of its sections: section, title, kind and the names of the keys."""
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for row in ROWS:
        if row.panel:
            place = (row.section, row.panel, row.plot)
            found[place] = (*found.get(place, ()), *row.keys)
    return sorted(((*place, keys) for place, keys in found.items()), key=lambda panel: SECTIONS.index(panel[0]))


def dashboard_table() -> str:
    """The sections and panels of a dashboard, in Markdown."""
    lines = ["| section | panel | kind | keys |", "|---|---|---|---|"]
    before = ""
    for section, panel, plot, keys in panels():
        lines.append(f"| {section if section != before else ''} | {panel} | {plot} | {_code(keys)} |")
        before = section
    return "\n".join(lines)


def patterns() -> Iterator[str]:
    """All names of the table."""
    return (key for row in ROWS for key in row.keys)


def _code(keys: tuple[str, ...]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """What a name with placeholders matches."""
    parts = [
        _STEP if part == "step" else "[^/]+" if place % 2 else re.escape(part) for place, part in enumerate(_PLACEHOLDER.split(pattern))
    ]
    return re.compile("".join(parts))
