"""What a study asks of a comparison: names of variants, a paired test, the sources beside the targets, time and memory."""

import csv
import io
import itertools
import re
from pathlib import Path

import pytest

from pin_memory.evaluation.compare import compare, read_runs
from pin_memory.evaluation.compare_tables import _probability, comparison_tables, further_table, long_csv, write_comparison
from pin_memory.utils.errors import ConfigurationError
from tests.evaluation.test_compare import scored, write

BASE = {1: (0.30, 0.20), 2: (0.34, 0.10), 3: (0.36, 0.25), 4: (0.31, 0.15)}
GAINS = {1: (0.02, -0.01), 2: (0.05, 0.03), 3: (-0.02, 0.06), 4: (0.07, 0.08)}
"""mIoU of erm on two targets by seed, and what the variant has more."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """erm as a variant, another variant of erm, and a plain method, with four seeds."""
    for seed, scores in BASE.items():
        for name, method, gains, costs in (
            ("erm", "erm", (0.0, 0.0), {"step_seconds": 0.5, "peak_bytes": 2**30}),
            ("fourier", "erm", GAINS[seed], {"step_seconds": 0.5 + seed / 10, "peak_bytes": (seed + 2) * 2**29}),
            (None, "mldg", (0.1, 0.1), {}),
        ):
            targets = {target: scored(score + gain, score + gain) for target, score, gain in zip(("a", "b"), scores, gains, strict=True)}
            about = {**costs, **({"variant": name} if name else {}), "source_validation": {"x": 0.4 + seed / 100, "y": 0.5 + gains[0]}}
            config = f"randomisation: {name}\n"
            write(tmp_path / str(name or method) / str(seed), method, seed, targets, config, **about)
    return tmp_path


def exact_p(differences: list[float]) -> float:
    """Two-sided p of Wilcoxon's test by all signs of the ranks."""
    order = sorted(range(len(differences)), key=lambda place: abs(differences[place]))
    ranks = {place: rank for rank, place in enumerate(order, 1)}
    total = sum(ranks.values())
    seen = sum(rank for place, rank in ranks.items() if differences[place] > 0)
    extreme = min(seen, total - seen)
    signs = itertools.product((0, 1), repeat=len(ranks))
    sums = [sum(itertools.compress(ranks.values(), chosen)) for chosen in signs]
    return sum(min(one, total - one) <= extreme for one in sums) / len(sums)


def test_variants_are_rows_by_name_and_the_baseline_is_the_plain_one(study: Path) -> None:
    rows = compare(read_runs(study), "erm")["rows"]
    assert [(row["method"], row["variant"], row["settings"], row["gain"] is None) for row in rows] == [
        ("erm", "erm", {}, True),
        ("erm", "fourier", {}, False),
        ("mldg", "", {}, False),
    ]
    assert {row["gain"]["baseline"] for row in rows[1:]} == {"erm, erm"}
    assert compare(read_runs(study), "mldg")["rows"][2]["gain"] is None
    without = compare(read_runs([study / "fourier", study / "mldg"]), "erm")["rows"]  # the one row of this method, although a variant
    assert [row["gain"] is None for row in without] == [True, False]
    with pytest.raises(ConfigurationError, match="choose one of erm, "):
        compare(read_runs(study), "isw")


def test_the_paired_test_is_over_seeds_and_targets(study: Path) -> None:
    gain = compare(read_runs(study), "erm")["rows"][1]["gain"]
    differences = [value for pair in GAINS.values() for value in pair]
    assert len({round(abs(value), 6) for value in differences}) < len(differences)  # with ties, of -0.02 and 0.02
    assert (gain["test"]["pairs"], gain["test"]["better"]) == (8, 6)
    assert 0 < gain["test"]["p"] < 1
    first = compare([run for run in read_runs(study) if run.results.seed in (1, 2, 4)], "erm")["rows"][1]["gain"]
    untied = [value for seed in (1, 2, 4) for value in GAINS[seed]]
    assert first["test"]["p"] == pytest.approx(exact_p(untied))
    assert gain["mean_miou"]["values"] == pytest.approx({str(seed): sum(pair) / 2 for seed, pair in GAINS.items()})
    same = compare(read_runs([study / "erm", *[study / "erm" / str(seed) for seed in BASE]]), "erm")["rows"][0]
    assert same["gain"] is None


@pytest.mark.parametrize(("p", "shown"), [(0.0312, "0.031"), (0.0004, "<0.001"), (0.0005, "0.001"), (None, "-")])
def test_a_p_is_never_nothing(p: float | None, shown: str) -> None:
    assert _probability({"p": p}) == shown


def test_equal_scores_have_no_p(tmp_path: Path) -> None:
    for name in ("erm", "mldg"):
        write(tmp_path / name, name, 1, {"a": scored(0.5, 0.25)})
    test = compare(read_runs(tmp_path), "erm")["rows"][1]["gain"]["test"]
    assert test == {"pairs": 1, "better": 0, "p": None}


def test_sources_time_and_memory_stand_beside_the_targets(study: Path) -> None:
    comparison = compare(read_runs(study), "erm")
    scores, further = comparison_tables(comparison)
    assert scores.head[-6:] == ["method", "variant", "seeds", "a", "b", "mean"]
    assert further.head == [
        "method", "variant", "seeds", "sources", "gain, sources", "gain, mean, by seed", "better", "p", "s a step", "GiB",
    ]  # fmt: skip
    base, fourier, mldg = (dict(zip(further.head, row, strict=True)) for row in further.sections[0])
    assert (base["better"], base["gain, mean, by seed"], base["s a step"], base["GiB"]) == ("-", "-", "0.5", "1.00")
    assert (fourier["better"], fourier["gain, mean, by seed"]) == ("6 of 8", "+0.5, +4.0, +2.0, +7.5")
    assert (fourier["s a step"], fourier["GiB"]) == ("0.75", "3.00")  # the mean, and the most
    assert (mldg["s a step"], mldg["GiB"]) == ("-", "-")
    sources = comparison["rows"][1]
    assert sources["source_validation"]["mean"] == pytest.approx(((0.41 + 0.42 + 0.43 + 0.44) / 4 + 0.5 + 0.03) / 2)
    assert sources["gain"]["source_validation"]["values"] == pytest.approx({str(seed): pair[0] / 2 for seed, pair in GAINS.items()})
    lines = [line for line in csv.DictReader(io.StringIO(long_csv(comparison))) if line["target"] == "sources"]
    assert [(line["variant"], line["n"]) for line in lines] == [("erm", "4"), ("fourier", "4"), ("", "4")]
    assert float(lines[1]["gain"]) == pytest.approx(0.015)


def test_the_report_has_them_too(study: Path, tmp_path: Path) -> None:
    (path,) = write_comparison(compare(read_runs(study), "erm"), tmp_path / "out", ["html"])
    page = path.read_text()
    assert "Beside the targets" in page
    row = page.partition("Beside the targets")[2].partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")[1]
    assert re.findall(r'<td class="num">(.*?)</td>', row)[2:4] == ["+0.5, +4.0, +2.0, +7.5", "6 of 8"]


def test_what_is_not_on_record_has_no_column(tmp_path: Path) -> None:
    write(tmp_path / "a", "erm", 1, {"a": scored(0.5, 0.25)})
    assert further_table(compare(read_runs(tmp_path))).head == ["method", "seeds", "sources"]
