"""Runs that each leave another domain out: a row for each method, a column for each domain, and the mean over the seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from pin_memory.evaluation.compare import compare, read_runs
from pin_memory.evaluation.compare_tables import comparison_table, write_comparison

SITES = ("north", "south", "west")
SCORES = {("erm", 1): (0.1, 0.2, 0.6), ("erm", 2): (0.3, 0.2, 0.1), ("mldg", 1): (0.4, 0.5, 0.3), ("mldg", 2): (0.2, 0.5, 0.5)}


def write(
    folder: Path, method: str, seed: int, site: str, score: float, further: tuple[str, ...] = (), place: str = "sources", **settings: Any
) -> Path:
    """The folder of a run that left a site out."""
    (folder / ".hydra").mkdir(parents=True)
    target = {"miou": score, "iou": {"road": score, "sky": None}, "images": 4, "layout": "flat", "view": "native", "classes": ["road"]}
    results = {
        "method": method, "network": "net", "sources": [name for name in SITES if name != site], "protocol": "whole@1", "stand_in": False,
        "seed": seed, "selection": "last (step 3)", "source_validation": {"x": score / 2}, "mean_miou": score,
        "targets": {site: target} | dict.fromkeys(further, target),
    }  # fmt: skip
    data = {"_target_": "pin_memory.domains.MultiSourceDataModule.leave_one_out", "target": "${target}"}
    data[place] = {name: {"root": f"/{name}", "images": "images"} for name in SITES}
    config = {"name": "sites", "seed": seed, "target": site, "method": {"name": method}, "data": data} | settings
    (folder / "results.json").write_text(json.dumps(results))
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two methods, two seeds, three sites."""
    for (method, seed), scores in SCORES.items():
        for site, score in zip(SITES, scores, strict=True):
            write(tmp_path / "sweep" / f"{site}_{method}_{seed}", method, seed, site, score)
    return tmp_path / "sweep"


def test_methods_by_domain_with_the_mean_over_the_seeds(sweep: Path, tmp_path: Path) -> None:
    """The mean is taken over the domains for each seed, the spread over the seeds, and the gain seed by seed."""
    comparison = compare(read_runs(sweep), baseline="erm")
    assert comparison["targets"] == list(SITES)
    assert comparison["notes"] == []
    erm, mldg = comparison["rows"]
    assert (erm["method"], mldg["method"], erm["seeds"], len(erm["folders"])) == ("erm", "mldg", ["1", "2"], 6)
    assert erm["sources"] == "north+south+west, each left out once"
    assert mldg["targets"]["north"]["miou"]["values"] == {"1": 0.4, "2": 0.2}
    assert erm["mean_miou"]["values"] == {"1": pytest.approx(0.3), "2": pytest.approx(0.2)}
    assert erm["mean_miou"]["std"] == pytest.approx(0.1 / 2**0.5)
    assert erm["source_validation"]["values"]["1"] == pytest.approx(0.15)
    assert mldg["gain"]["mean_miou"]["values"] == {"1": pytest.approx(0.1), "2": pytest.approx(0.2)}
    text = comparison_table(comparison).text()
    assert "north+south+west, each left out once" in text
    assert "settings" not in text
    for path in write_comparison(comparison, tmp_path / "out", ["markdown", "csv", "latex", "json", "html"]):
        assert "mldg" in path.read_text()
    assert (tmp_path / "out" / "report.html").read_text().count(str(sweep / "north_erm_1")) == 1


def test_each_run_has_a_row_without_seeds(sweep: Path) -> None:
    comparison = compare(read_runs(sweep), over_seeds=False)
    assert len(comparison["rows"]) == len(SCORES) * len(SITES)


@pytest.mark.parametrize("place", ["domains", "sources"])
def test_settings_that_differ_are_rows_of_their_own(place: str, tmp_path: Path) -> None:
    """Not the domain that is left out, by whatever name; but a learning rate."""
    for number, (site, rate) in enumerate((site, rate) for site in SITES for rate in (0.1, 0.2)):
        write(tmp_path / str(number), "erm", 1, site, rate, place=place, optimizer={"lr": rate}, held_out={"name": site})
    rows = compare(read_runs(tmp_path))["rows"]
    assert [row["settings"] for row in rows] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]
    assert all(list(row["targets"]) == list(SITES) for row in rows)


def test_a_seed_that_misses_a_domain_is_no_part_of_the_mean(sweep: Path) -> None:
    for path in (sweep / "west_erm_2").rglob("results.json"):
        path.unlink()
    comparison = compare(read_runs(sweep))
    assert [(row["method"], row["seeds"], list(row["targets"])) for row in comparison["rows"]] == [
        ("erm", ["1"], list(SITES)), ("erm", ["2"], ["north", "south"]), ("mldg", ["1", "2"], list(SITES))
    ]  # fmt: skip
    assert any("seed 2: no run that leaves out west" in note for note in comparison["notes"])


def test_of_two_runs_that_leave_out_the_same_with_one_seed_the_later_counts(sweep: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "sweep" / "again", "erm", 1, "north", 0.7)
    comparison = compare(read_runs(sweep))
    assert comparison["rows"][0]["targets"]["north"]["miou"]["values"]["1"] == 0.7
    assert any("run twice without north" in note and str(again) in note for note in comparison["notes"])


def test_further_targets_are_named_and_left_out(tmp_path: Path) -> None:
    for site in SITES:
        write(tmp_path / site, "erm", 1, site, 0.2, further=("city",))
    comparison = compare(read_runs(tmp_path))
    assert comparison["targets"] == list(SITES)
    assert any(note.startswith("city: left out of the table") for note in comparison["notes"])


def test_a_single_domain_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "one", "erm", 1, "north", 0.2, further=("city",))
    (row,) = compare(read_runs(tmp_path))["rows"]
    assert (row["sources"], list(row["targets"])) == ("south+west", ["north", "city"])
