"""The report of a comparison, as a file."""

from pathlib import Path
from typing import Any

import pytest

from pin_memory.evaluation.compare import compare
from pin_memory.evaluation.compared_runs import Run
from pin_memory.evaluation.report import write_comparison_report
from pin_memory.runs.results import Results
from pin_memory.utils.errors import OutputError
from tests.evaluation.test_report import HOSTILE, Page
from tests.helpers.folders import results


def run(method: str, seed: int, miou: float, stand_in: bool = True, folder: str = "", **more: Any) -> Run:
    """One run, all of whose scores are `miou`."""
    found = results(stand_in=stand_in)
    targets = {name: target | {"miou": miou, "iou": {"road": miou, "sky": miou, "car": None}} for name, target in found["targets"].items()}
    about = {"label": f"{method}-{seed}", "experiment": "mine", "method": method, "seed": seed, "mean_miou": miou, "targets": targets}
    return Run(Path(folder or f"/runs/{method}/{seed}"), Results.model_validate(found | about | more))


def comparison(method: str = "pin", stand_in: bool = True) -> dict[str, Any]:
    """Two methods on two seeds, the second 10 and 20 points better."""
    scores = {("erm", 1): 0.3, ("erm", 2): 0.4, (method, 1): 0.4, (method, 2): 0.6}
    return compare([run(name, seed, miou, stand_in) for (name, seed), miou in scores.items()], "erm")


def test_means_spreads_and_gains_are_shown(tmp_path: Path) -> None:
    page = Page(write_comparison_report(comparison(), tmp_path / "out" / "report.html"))
    # Means 35 and 50; sample standard deviations 10 / sqrt 2 and 20 / sqrt 2; gains 10 and 20.
    rows = [row for row in page.rows if row and row[0].startswith(("erm", "pin"))]
    assert rows[0] == ["ermbaseline", *["35.0± 7.1"] * 3]
    assert rows[1] == ["pin", *["50.0± 14.1+15.0 ± 7.1"] * 3]
    assert ["road", "35.0± 7.1", "50.0± 14.1+15.0 ± 7.1"] in page.rows
    assert not [row for row in page.rows if row and row[0] == "car"]  # no target has it
    for folder in ("/runs/erm/1", "/runs/pin/2"):
        assert folder in page.words


@pytest.mark.parametrize("stand_in", [True, False])
def test_stand_ins_are_named_as_such(tmp_path: Path, stand_in: bool) -> None:
    page = Page(write_comparison_report(comparison(stand_in=stand_in), tmp_path / "report.html"))
    assert ("STAND-IN" in page.words) == stand_in


def test_names_are_text_never_markup(tmp_path: Path) -> None:
    page = Page(write_comparison_report(comparison(HOSTILE), tmp_path / "report.html"))
    assert HOSTILE in page.words
    assert len(page.all("script")) == 1
    assert not page.all("img")


def test_runs_that_are_no_baseline_and_have_no_gain_are_not_called_one(tmp_path: Path) -> None:
    runs = [run("erm", 1, 0.3), run("pin", 1, 0.4, network="other"), run("erm", 2, 0.3, network="third")]
    page = Page(write_comparison_report(compare(runs, "erm"), tmp_path / "report.html"))
    names = [row[0] for row in page.rows if row and row[0].startswith(("erm", "pin"))]
    assert all(("baseline" in name) == name.startswith("erm") for name in names)


def test_a_folder_is_named_by_complete_parts_of_its_path(tmp_path: Path) -> None:
    folders = {"erm": "/runs/1/b", "pin": "/runs/2/b", "isw": "/runs/3/ab"}
    runs = [run(name, 1, 0.3, network=name, folder=folder) for name, folder in folders.items()]
    page = Page(write_comparison_report(compare(runs, "b"), tmp_path / "report.html"))
    names = [row[0] for row in page.rows if row and row[0].startswith(tuple(folders))]
    assert all(("baseline" in name) != name.startswith("isw") for name in names)


def test_a_comparison_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html"):
        write_comparison_report(comparison(), tmp_path / "report.html")
