"""Scores as JSON and as a table."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.runs.results import mean_miou, read_results, results_table, score_table, target_result, write_confusions, write_results
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.labels import CLASSES
from pin_memory.utils.tables import FORMATS, STAND_IN_NOTE, check_formats, write_table


@pytest.fixture
def results() -> dict[str, Any]:
    """Three targets; the last has no train."""
    full = torch.eye(19, dtype=torch.long) * 3 + 1
    without_train = full.clone()
    without_train[16] = 0
    targets = {name: target_result(full) for name in ("cityscapes", "bdd100k")}
    targets["mapillary"] = target_result(without_train)
    run = {"method": "pin_the_memory", "network": "deeplabv3plus_resnet50", "sources": ["gtav", "synthia"], "seed": 304}
    return {**run, "protocol": "whole", "stand_in": False, "targets": targets, "mean_miou": mean_miou(targets)}


def test_target_result_is_in_fractions_and_null_where_nothing_was_judged() -> None:
    result = target_result(np.array([[6, 2], [0, 0]]), classes=("road", "sky"))
    assert result == {"miou": 0.75, "iou": {"road": 0.75, "sky": None}}
    assert target_result(torch.zeros(2, 2), classes=("road", "sky")) == {"miou": None, "iou": {"road": None, "sky": None}}


def test_means_are_taken_over_the_classes_that_occur_whatever_is_predicted() -> None:
    names = ("road", "wall", "terrain")
    confusion = np.array([[6, 0, 2], [1, 1, 0], [0, 0, 0]])  # terrain is predicted, but does not occur
    result = target_result(confusion, names, occurring=("road", "wall"), subsets={"miou1": ("road", "terrain")})
    assert result == {"miou": (6 / 9 + 1 / 2) / 2, "miou1": 6 / 9, "iou": {"road": 6 / 9, "wall": 1 / 2, "terrain": None}}
    stray = confusion + np.diag([0, 0, 3])  # pixels of a class that the data set is said not to have
    assert target_result(stray, names, occurring=("road", "wall"))["iou"]["terrain"] is None


def test_table_shows_the_further_means_and_the_views(results: dict[str, Any]) -> None:
    for target in results["targets"].values():
        target["miou16"] = 0.25
    results["targets"]["mapillary"]["view"] = "centre_1536"
    rows = {line[:9].strip(): line[9:].split() for line in results_table(results).splitlines()}
    assert rows["mIoU16"] == ["25.0"] * 4
    assert "evaluation view: mapillary centre_1536" in results_table(results)


def test_mean_is_unweighted_over_the_targets() -> None:
    assert mean_miou({"a": {"miou": 0.2}, "b": {"miou": 0.5}, "c": {"miou": None}}) == pytest.approx(0.35)
    assert mean_miou({}) is None


def test_table_has_a_row_per_class_then_the_means_and_the_floors(results: dict[str, Any]) -> None:
    floors = {"untrained network": dict.fromkeys(results["targets"], 0.01), "most frequent class at each position": {"cityscapes": 0.1}}
    lines = results_table(results, floors).splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line[:38].strip(): line[38:].split() for line in lines}
    assert [name for name in rows if name in CLASSES] == list(CLASSES)
    assert rows["road"] == ["10.0", "10.0", f"{100 * results['targets']['mapillary']['iou']['road']:.1f}"]
    assert rows["train"][-1] == "-"
    mious = [target["miou"] for target in results["targets"].values()]
    assert rows["mIoU"] == [f"{100 * value:.1f}" for value in [*mious, sum(mious) / 3]]
    assert rows["untrained network"] == ["1.0"] * 4
    assert rows["most frequent class at each position"] == ["10.0", "-", "-", "10.0"]


def test_columns_are_aligned(results: dict[str, Any]) -> None:
    lines = results_table(results).splitlines()
    head = next(line for line in lines if "cityscapes" in line)
    end = head.index("cityscapes") + len("cityscapes")
    assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines if line.startswith(CLASSES))


def test_caption_says_what_was_run_and_when_it_is_a_stand_in(results: dict[str, Any]) -> None:
    table = results_table({**results, "selection": "best source validation"})
    for text in ("pin_the_memory", "deeplabv3plus_resnet50", "gtav, synthia", "whole", "best source validation"):
        assert text in table
    assert STAND_IN_NOTE not in table
    assert STAND_IN_NOTE in results_table({**results, "stand_in": True})


def test_json_holds_the_results_with_null_for_nan(results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.json"
    write_results(path, {**results, "extra": [float("nan"), np.float32(0.5), torch.tensor(2)], "folder": tmp_path})
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["targets"] == results["targets"]
    assert read["targets"]["mapillary"]["iou"]["train"] is None
    assert read["extra"] == [None, 0.5, 2]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


TARGET = {"miou": 0.1, "iou": {"road": 0.1, "sky": None}}


@pytest.mark.parametrize(
    "content",
    [
        None, "{", b"\xff", [], 3, {}, {"targets": [1]}, {"targets": {"a": 1}}, {"targets": {"a": {"miou": 0.1}}},
        {"targets": {"a": {"iou": {}}}}, {"targets": {"a": {"miou": 0.1, "iou": [0.1]}}}, {"targets": {"a": {"miou": "high", "iou": {}}}},
        {"targets": {"a": {"miou": 0.1, "iou": {"road": {}}}}}, {"targets": {"a": TARGET}, "mean_miou": "high"},
        {"targets": {"a": TARGET}, "source_validation": [0.1]}, {"targets": {"a": TARGET}, "floors": {"constant": 0.1}},
    ],
)  # fmt: skip
def test_damaged_results_are_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else (content if content == "{" else json.dumps(content)).encode())
    with pytest.raises(ConfigurationError, match=r"results\.json is no readable results file"):
        read_results(path)


def test_results_are_read_as_they_were_written(results: dict[str, Any], tmp_path: Path) -> None:
    about = {"floors": {"constant": {"mapillary": None}}, "source_validation": None}
    for content in (results | about, {"targets": {"a": TARGET}}):
        write_results(tmp_path / "results.json", content)
        assert read_results(tmp_path / "results.json") == content


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"results\.json"):
        write_results(tmp_path / "file" / "results.json", {})


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_results(path, {"miou": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_results(path, {"miou": 2})
    assert json.loads(path.read_text()) == {"miou": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_files_hold_the_table_in_every_form(results: dict[str, Any], tmp_path: Path) -> None:
    run = {**results, "stand_in": True, "protocol": "sliding_768@1"}
    paths = write_table(score_table(run), tmp_path / "results", list(FORMATS))
    assert [path.name for path in paths] == ["results.md", "results.csv", "results.tex"]
    markdown, table, latex = (path.read_text(encoding="utf-8") for path in paths)
    for text in (markdown, table, latex):
        assert STAND_IN_NOTE in text
        assert "768@1" in text
    rows = {row[0]: row[1:] for row in csv.reader(line for line in table.splitlines() if not line.startswith("#"))}
    assert rows["IoU in %"] == ["cityscapes", "bdd100k", "mapillary", "mean"]
    assert rows["train"] == [f"{100 * results['targets'][name]['iou']['train']:.4f}" for name in ("cityscapes", "bdd100k")] + ["", ""]
    assert float(rows["mIoU"][3]) == pytest.approx(100 * results["mean_miou"], abs=1e-3)
    assert "| traffic light | 10.0 | 10.0 |" in markdown
    assert "method     pin\\_the\\_memory" in markdown
    assert "\ntrain & 10.0 & 10.0 & -- &  \\\\\n" in latex
    assert latex.count("{") == latex.count("}")


def test_gains_are_shown_with_their_sign_by_class_in_files_alone(results: dict[str, Any]) -> None:
    gain = {"baseline": "runs/erm", "targets": {"cityscapes": {"miou": -0.021, "iou": {"road": 0.3}}, "bdd100k": {"miou": 0.06, "iou": {}}}}
    run = {**results, "gain": {**gain, "targets": {**gain["targets"], "mapillary": None}, "mean_miou": None}}
    lines = [line.split() for line in results_table(run).splitlines()]
    assert lines[-1] == ["gain,", "mIoU", "-2.1", "+6.0", "-", "-"]  # of other targets than the baseline's there is no mean
    assert ["gain", "over", "runs/erm"] in lines
    assert not any("road" in line and "gain," in line for line in lines)
    table = score_table(run, class_gains=True)
    assert "| gain, road | +30.0 | - | - |" in table.markdown()
    assert "gain, mIoU & $-$2.1 & +6.0 & -- & -- " in table.latex()
    assert "| gain, mIoU | -2.1 | +6.0 | - | - |" in table.markdown()
    assert '\n"gain, mIoU",-2.1000,6.0000,,\n' in table.csv()
    whole = {"baseline": "erm", "targets": {name: {"miou": 0.02} for name in results["targets"]}, "mean_miou": 0.02}
    assert results_table({**results, "gain": whole}).splitlines()[-1].split()[2:] == ["+2.0"] * 4


def test_statistics_of_batch_norm_are_named_where_they_are_not_the_usual_ones(results: dict[str, Any]) -> None:
    gain = {"baseline": "runs/erm", "statistics": "image", "targets": dict.fromkeys(results["targets"]), "mean_miou": None}
    lines = results_table({**results, "statistics": "running", "gain": gain}).splitlines()
    assert not any(line.startswith("statistics") for line in lines)
    assert "gain over  runs/erm (statistics of batch norm there: image; here: running)" in lines
    lines = results_table({**results, "statistics": "image", "gain": gain}).splitlines()
    assert "statistics image" in lines
    assert "gain over  runs/erm" in lines


def test_unknown_formats_list_the_choices() -> None:
    with pytest.raises(ConfigurationError, match=r"tables=word.*markdown, csv, latex"):
        check_formats(["csv", "word"], "tables")
    assert check_formats("csv", "tables") == ["csv"]


def test_confusions_are_kept_as_integers(tmp_path: Path) -> None:
    counts = {"cityscapes": torch.tensor([[2**40, 1], [0, 3]]), "bdd100k": torch.eye(2, dtype=torch.long)}
    write_confusions(tmp_path / "confusions.npz", counts)
    with np.load(tmp_path / "confusions.npz") as stored:
        assert set(stored) == set(counts)
        assert stored["cityscapes"].dtype == np.int64
        assert stored["cityscapes"].tolist() == [[2**40, 1], [0, 3]]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"confusions\.npz"):
        write_confusions(tmp_path / "file" / "confusions.npz", counts)
