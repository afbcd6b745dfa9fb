"""Tables of scores: one unit each for people and for programs, the best in bold, no minus zero."""

import csv
import io

import pytest

from pin_memory.utils.tables import Score, Table, mark_best, percent


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.4123, False, "41.2"),
        (-0.0004, True, "0.0"),
        (0.0004, True, "0.0"),
        (-0.0, False, "0.0"),
        (-0.021, True, "-2.1"),
        (0.06, True, "+6.0"),
    ],
)
def test_percent(value: float, signed: bool, text: str) -> None:
    assert percent(value, signed) == text
    assert Score(value, signed=signed).shown() == text


def test_the_best_are_those_that_look_best() -> None:
    scores = mark_best([Score(0.4121), Score(None), Score(0.4124), Score(0.3)])
    assert [score.best for score in scores] == [True, False, True, False]
    assert not mark_best([Score(0.4), Score(None)])[0].best
    assert mark_best([]) == []


def test_people_read_percent_with_the_best_in_bold_and_programs_fractions() -> None:
    cells = mark_best([Score(0.5, 0.01), Score(0.25)])
    table = Table(["a caption"], ["IoU in %", "mine & yours", "erm"], [[["road_2", *cells, *()]]], name="comparison-own set_1")
    latex, markdown, comma_separated = table.latex(), table.markdown(), table.csv()
    assert "road\\_2 & \\textbf{50.0 $\\pm$ 1.0} & 25.0 \\\\" in latex
    assert "\\caption{a caption.}\n\\label{tab:comparison-own-set-1}\n\\end{table}" in latex
    assert "| road\\_2 | **50.0 ± 1.0** | 25.0 |" in markdown
    assert "*" not in table.text()
    rows = list(csv.reader(io.StringIO(comma_separated)))
    assert rows[1:] == [["IoU", "mine & yours", "erm"], ["road_2", "0.500000", "0.250000"]]
