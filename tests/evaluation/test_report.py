"""The report of a run, as a file."""

import json
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

import pin_memory.report
from pin_memory.evaluation.report import try_report, write_report
from pin_memory.evaluation.report.charts import line_chart
from pin_memory.utils.errors import DataError, OutputError
from tests.helpers.folders import make_run
from tests.helpers.in_process import run_in_process


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style", "td", "th"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] in (["script"], ["style"]):
            return
        self.words += data
        if self._open:
            self.rows[-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_everything_that_a_run_has_is_shown(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    page = Page(path)
    for words in ("Loss", "Source validation", "Learning rate", "Memory", "mine run", "optimizer", "STAND-IN", "erm", "whole@1"):
        assert words in page.words
    assert [row for row in page.rows if row and row[0] == "sky"] == [["sky", "50.0", "50.0", "50.0"]]
    assert [row for row in page.rows if row and row[0] == "car"] == [["car", "–", "–", "–"]]
    assert [row for row in page.rows if row and row[0] == "mIoU"] == [["mIoU", "37.5", "37.5", "37.5"]]
    assert ["most frequent class", "10.0", "10.0", "10.0"] in page.rows
    assert len(page.all("img")) == 2 * 2 * 4  # targets, panels, layers
    assert len(page.all("rect")) == 9
    assert {rect["fill"] for rect in page.all("rect")} > {"#b2182b", "#969696"}  # like itself; not written yet


def test_a_report_says_stand_in_in_its_title_its_banner_and_its_captions(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run")))
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<title>STAND-IN" in text
    assert page.words.count("STAND-IN") >= 4
    real = json.loads((tmp_path / "run" / "results.json").read_text()) | {"stand_in": False}
    (tmp_path / "run" / "results.json").write_text(json.dumps(real))
    assert "STAND-IN" not in Page(write_report(tmp_path / "run")).words


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run")))
    links = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href", "srcset", "action")]
    assert links
    assert all(link and link.startswith(("data:", "#")) for link in links)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


HOSTILE = "\"><script>window.hacked=1</script><img src=x onerror=window.hacked=1>'{{ 7*7 }}"


def test_names_from_files_are_text_never_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<b>run", (HOSTILE, "</script>"), (HOSTILE, "sky", "</title><svg onload=x>"), name=HOSTILE)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"name={HOSTILE}"]))
    (run / "metrics.csv").write_text(f"step,loss/<script>,val/miou_{'<img>'}\n0,1.0,0.5\n9,2.0,0.6\n")
    page = Page(write_report(run))
    assert HOSTILE in page.words
    assert {attributes.get("type") for attributes in page.all("script")} == {None, "application/json"}
    assert [attributes.get("type") for attributes in page.all("script")].count(None) == 1
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_list_of_tiles_cannot_fetch_other_files_into_the_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run")
    shutil.copy(run / "tiles" / "t0_0_image.jpg", tmp_path / "secret.jpg")
    index = json.loads((run / "tiles" / "index.json").read_text())
    index["panels"][0]["image"] = "../../secret.jpg"
    (run / "tiles" / "index.json").write_text(json.dumps(index))
    page = Page(write_report(run))
    assert len(page.all("img")) == 3 * 4
    assert "leaves out the panel image 0" in caplog.text


@pytest.mark.slow
def test_large_pictures_are_shown_640_pixels_wide(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path / "run", side=400, noise=True)))
    assert {(image["width"], image["height"]) for image in page.all("img")} == {("640", "320")}
    assert len(page.all("img")) == 2 * 2 * 4


@pytest.mark.parametrize("missing", ["results.json", "metrics.csv", "config.yaml", "tiles", "memory_trace.npz"])
def test_what_is_not_there_is_left_out(tmp_path: Path, missing: str) -> None:
    run = make_run(tmp_path / "run")
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = Page(write_report(run)).words
    assert "Could not be read" not in words
    gone = {"results.json": "Target domains", "metrics.csv": "Source validation", "tiles": "Panels", "memory_trace.npz": "Memory"}
    assert gone.get(missing, "nothing of that kind") not in words


@pytest.mark.parametrize("broken", ["config.yaml", "memory_trace.npz", "tiles/index.json", "provenance.json"])
def test_what_cannot_be_read_is_listed_in_the_report(tmp_path: Path, broken: str) -> None:
    run = make_run(tmp_path / "run")
    (run / broken).write_bytes(b"{\xff\xfe: [")
    words = Page(write_report(run)).words
    assert "Could not be read" in words
    assert Path(broken).name in words
    assert "Target domains" in words


@pytest.mark.parametrize("palette", [[["x", 1, 2]], [[1, 2]], 5])
def test_a_foreign_list_of_tiles_is_listed_too(tmp_path: Path, palette: object) -> None:
    run = make_run(tmp_path / "run")
    (run / "tiles" / "index.json").write_text(json.dumps({"classes": ["a"], "palette": palette, "panels": []}))
    assert "index.json: not as this library writes it" in Page(write_report(run)).words


def test_results_need_no_more_than_scores(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "results.json").write_text(json.dumps({"targets": {"city": {"miou": 0.5, "iou": {"road": 0.5}}}}))
    page = Page(write_report(run))
    assert ["mIoU", "50.0", "50.0"] in page.rows
    assert "protocol" not in page.words
    assert "batch norm by" not in page.words


@pytest.mark.parametrize("damage", [{"targets": {"a": {"miou": 0.1}}}, {"targets": [1]}, {"source_validation": [1]}, {"floors": {"a": 1}}])
def test_damaged_results_are_listed_in_the_report(tmp_path: Path, damage: dict[str, object]) -> None:
    run = make_run(tmp_path / "run")
    (run / "results.json").write_text(json.dumps(json.loads((run / "results.json").read_text()) | damage))
    words = Page(write_report(run)).words
    assert "results.json is no readable results file" in words
    assert "Target domains" not in words
    (run / "metrics.csv").unlink()
    with pytest.raises(DataError, match=r"neither results\.json nor metrics\.csv.*results\.json is no readable results file"):
        write_report(run)


def test_an_evaluation_shows_the_settings_of_the_evaluated_run_and_the_gain(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "config.yaml").unlink()
    (run / "settings.yaml").write_text("name: evaluated one\noptimizer: {lr: 0.125, weight_decay: '${secret}'}\n")
    found = json.loads((run / "results.json").read_text())
    gained = {"city": {"miou": 0.021, "iou": {}}, "night": None}
    found["gain"] = {"baseline": "other", "statistics": "image", "targets": gained, "mean_miou": None}
    (run / "results.json").write_text(json.dumps(found))
    page = Page(write_report(run))
    assert "Report of an evaluation" in page.words
    assert "evaluated one run" in page.words
    assert "0.125" in page.words
    assert ["gain over other (statistics of batch norm there: image; here: running)", "+2.1", "–", "–"] in page.rows


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"neither results\.json nor metrics\.csv"):
        write_report(tmp_path)


def test_a_report_that_cannot_be_written_is_logged_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run")
    (run / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html"):
        write_report(run)
    with caplog.at_level(logging.WARNING, "pin_memory"):
        assert try_report(run) is None
    assert "The results are not concerned" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_defect_is_passed_over_but_leaves_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pin_memory.evaluation.report.run._page", lambda folder: 1 / 0)
    assert try_report(make_run(tmp_path / "run")) is None
    assert "ZeroDivisionError" in caplog.text


class TestCharts:
    def test_places_follow_the_values(self) -> None:
        chart = line_chart("x", "X", {"a": ([0, 50, 100], [1.0, 3.0, 2.0])})
        assert chart
        (line,) = chart["lines"]
        (x0, y0), (x1, y1), (x2, y2) = line["dots"]
        assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
        assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)
        assert (x0, x2) == (chart["frame"]["left"], chart["frame"]["right"])

    @pytest.mark.parametrize("values", [[0.0, 1.0], [1e-7, 3e-7], [-5.0, 1e9], [0.0199, 0.02], [3.0, 3.0], [0.0, 0.0]])
    def test_ticks_are_round_distinct_and_within(self, values: list[float]) -> None:
        chart = line_chart("x", "X", {"a": ([1, 2], values)})
        assert chart
        labels = [tick["label"] for tick in chart["y"]]
        assert 2 <= len(labels) <= 12
        assert len(set(labels)) == len(labels)
        assert all(chart["frame"]["top"] <= tick["at"] <= chart["frame"]["bottom"] for tick in chart["y"])
        assert [float(label.replace(",", "")) for label in labels] == sorted(float(label.replace(",", "")) for label in labels)

    def test_what_is_not_finite_leaves_a_gap(self) -> None:
        chart = line_chart("x", "X", {"a": ([1, 2, 3, 4, 5], [1.0, 2.0, float("nan"), 2.0, float("inf")])})
        assert chart
        assert chart["lines"][0]["path"].count("M") == 2
        assert chart["data"]["lines"][0]["values"] == [1.0, 2.0, None, 2.0, None]
        assert line_chart("x", "X", {"a": ([1], [float("nan")])}) is None

    def test_long_series_are_thinned_to_means(self) -> None:
        values = np.random.default_rng(0).normal(size=1000)
        chart = line_chart("x", "X", {"a": (list(range(1000)), values.tolist())})
        assert chart
        assert chart["thinned"]
        kept = chart["data"]["lines"][0]["values"]
        assert len(kept) == 250
        assert kept == pytest.approx(values.reshape(250, 4).mean(axis=1), rel=1e-4)


def test_a_run_that_was_resumed_in_its_folder_has_each_step_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.csv").write_text("step,epoch,loss/inner\n1,0,4\n2,0,3\n3,0,2\n2,0,30\n3,0,20\n")
    text = write_report(run).read_text()
    (data,) = re.findall(r'<script type="application/json">(\{"lines": \[\{"label": "inner".*?)</script>', text)
    assert json.loads(data)["lines"] == [{"label": "inner", "steps": [1, 2, 3], "values": [4.0, 30.0, 20.0]}]


@pytest.mark.slow
def test_the_command_writes_the_report_of_a_trained_run_again(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (trained_run / "report.html").is_file()  # the training itself wrote one
    code, _, errors = run_in_process(pin_memory.report.main, [f"run={trained_run}", "output=again.html"], tmp_path, capsys)
    assert code == 0, errors
    page = Page(tmp_path / "again.html")
    results = json.loads((trained_run / "results.json").read_text())
    for row in page.rows:
        if row and row[0] == "mIoU":
            values = [*(target["miou"] for target in results["targets"].values()), results["mean_miou"]]
            assert row[1:] == [f"{100 * value:.1f}" for value in values]
    assert len(page.all("img")) == 6 * 4
    assert "Memory" in page.words
    code, _, errors = run_in_process(pin_memory.report.main, ["run=nowhere"], tmp_path, capsys)
    assert code == 2
    assert errors.startswith("Error: run=nowhere: no such folder")
