"""A table of scores in the forms that people paste it into: plain text, Markdown, CSV, LaTeX."""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeGuard

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import report_write_errors, write_text

STAND_IN_NOTE = "STAND-IN scenes: not comparable with published numbers"  # line of a caption above scores on drawn scenes


class Score(NamedTuple):
    """A fraction 0..1 that is shown in percent, with its standard deviation over seeds; a signed one is a difference, the best one bold."""

    value: float | None
    std: float | None = None
    signed: bool = False
    best: bool = False

    def shown(self, plus_minus: str = "±") -> str:
        """Percent with one decimal: `41.2`, `41.2 ± 0.3`, `+1.0`."""
        if not _known(self.value):
            return "-"
        text = percent(self.value, self.signed)
        return f"{text} {plus_minus} {100 * self.std:.1f}" if _known(self.std) else text

    def exact(self) -> str:
        """The fraction with six decimals, for programs; empty where there is none."""
        return f"{self.value:.6f}" if _known(self.value) else ""


def percent(value: float, signed: bool = False) -> str:
    """A fraction as percent with one decimal, of a difference with its sign; zero has none."""
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    return text.lstrip("+-") if float(text) == 0 else text


def mark_best(scores: Sequence[Score]) -> list[Score]:
    """Mark the highest of several scores, and those that look the same; one alone is not the best of anything."""
    known = [percent(score.value) for score in scores if _known(score.value)]
    highest = max(map(float, known), default=0.0)
    return [score._replace(best=len(known) > 1 and _known(score.value) and float(percent(score.value)) == highest) for score in scores]


Cell = str | Score
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|_*<`"})  # how characters are written that Markdown would read otherwise
_LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
)
"""How characters are written that LaTeX would read otherwise."""
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9:.-]+")


@dataclass
class Table:
    """Rows in sections, between which a rule is drawn, below lines that say how the numbers came about.

    The first `labels` columns hold text and are aligned on the left, the others on the right.
    """

    caption: list[str]
    head: list[str]
    sections: list[list[list[Cell]]] = field(default_factory=list)
    labels: int = 1
    name: str = "results"  # for references in LaTeX: `\\ref{tab:results}`

    def text(self) -> str:
        """Text for a terminal, in columns of one width."""
        parts = [[self.head], *([[_shown(cell) for cell in row] for row in rows] for rows in self.sections if rows)]
        widths = [max(map(len, column)) for column in zip(*(row for part in parts for row in part), strict=True)]
        columns = "  ".join(f"{{:{'<' if index < self.labels else '>'}{width}}}" for index, width in enumerate(widths))
        lines = [[columns.format(*row).rstrip() for row in part] for part in parts]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([*self.caption, rule, f"\n{rule}\n".join("\n".join(part) for part in lines)])

    def markdown(self) -> str:
        """A table of GitHub's Markdown, the caption as a list above it."""
        rows = [[_markdown(cell) for cell in row] for row in self._rows()]
        rule = [":--" if index < self.labels else "--:" for index in range(len(self.head))]
        lines = [f"| {' | '.join(row)} |" for row in ([name.translate(_MARKDOWN) for name in self.head], rule, *rows)]
        return "\n".join([*(f"- {line.translate(_MARKDOWN)}" for line in self.caption), "", *lines]) + "\n"

    def csv(self) -> str:
        """Comma-separated fractions with six decimals; the caption as lines that start with #."""
        buffer = io.StringIO()
        for line in self.caption:
            buffer.write(f"# {line}\n")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([name.removesuffix(" in %") for name in self.head])
        writer.writerows([cell.exact() if isinstance(cell, Score) else cell for cell in row] for row in self._rows())
        return buffer.getvalue()

    def latex(self) -> str:
        """A `table` with a `tabular` in the style of booktabs, whose rules it needs."""
        parts: list[list[list[Cell]]] = [[[*self.head]], *self.sections]
        body = "\n\\midrule\n".join("\n".join(_latex_row(row) for row in rows) for rows in parts if rows)
        columns = "l" * self.labels + "r" * (len(self.head) - self.labels)
        caption = "; ".join(" ".join(line.split()) for line in self.caption).translate(_LATEX)
        lines = [
            r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body,
            r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}.}}",
            rf"\label{{tab:{_NOT_IN_A_LABEL.sub('-', self.name)}}}", r"\end{table}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _rows(self) -> list[list[Cell]]:
        return [row for rows in self.sections for row in rows]


FORMATS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": (".md", Table.markdown),
    "csv": (".csv", Table.csv),
    "latex": (".tex", Table.latex),
}
"""Suffix and writer by the name of the format."""


def check_formats(formats: Sequence[str], setting: str, known: Sequence[str] = tuple(FORMATS)) -> list[str]:
    """Turn the formats that a setting names, one or several, into a list, and refuse unknown ones."""
    formats = [formats] if isinstance(formats, str) else list(formats)
    if unknown := [name for name in formats if name not in known]:
        raise ConfigurationError(f"{setting}={unknown[0]}: there is no such format; expected some of {', '.join(known)}.")
    return formats


def write_table(table: Table, path: Path, formats: Sequence[str]) -> list[Path]:
    """Write a table to `path`, which has no suffix, once for each of the `FORMATS` that are named, and return the files."""
    written = []
    for name in formats:
        suffix, write = FORMATS[name]
        target = path.with_name(path.name + suffix)
        with report_write_errors(target):
            write_text(target, write(table))
        written.append(target)
    return written


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _shown(cell: Cell) -> str:
    return cell.shown() if isinstance(cell, Score) else cell


def _markdown(cell: Cell) -> str:
    """With the best score bold."""
    text = _shown(cell).translate(_MARKDOWN)
    return f"**{text}**" if isinstance(cell, Score) and cell.best else text


def _latex_row(row: Sequence[Cell]) -> str:
    return f"{' & '.join(_latex_score(cell) if isinstance(cell, Score) else cell.translate(_LATEX) for cell in row)} \\\\"


def _latex_score(score: Score) -> str:
    """With a minus sign that is one, a dash where there is no score, and the best one bold."""
    text = score.shown("$\\pm$").replace("-", "$-$", 1) if _known(score.value) else "--"
    return rf"\textbf{{{text}}}" if score.best else text
