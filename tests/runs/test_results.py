"""Scores as JSON and as a table."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.evaluation.targets import target_scores
from pin_memory.runs.results import Gain, Results, TargetScores, read_confusions, write_confusions, write_json
from pin_memory.runs.score_table import score_table
from pin_memory.utils.errors import ConfigurationError, DataError, OutputError
from pin_memory.utils.labels import CLASSES
from pin_memory.utils.tables import FORMATS, STAND_IN_NOTE, check_formats, write_table


@pytest.fixture
def results() -> Results:
    """Three targets; the last has no train."""
    full = torch.eye(19, dtype=torch.long) * 3 + 1
    without_train = full.clone()
    without_train[16] = 0
    targets = {name: target_scores(full) for name in ("cityscapes", "bdd100k")}
    targets["mapillary"] = target_scores(without_train)
    found = Results(
        method="pin_the_memory", network="deeplabv3plus_resnet50", sources=["gtav", "synthia"], seed=304, protocol="whole",
        stand_in=False, targets=targets,
    )  # fmt: skip
    return changed(found, mean_miou=found.mean())


def changed(results: Results, **changes: Any) -> Results:
    """The results with other fields."""
    return results.model_copy(update=changes)


def lines_of(results: Results) -> list[str]:
    """The table as plain text."""
    return score_table(results).text().splitlines()


def test_scores_are_fractions_and_null_where_nothing_was_evaluated() -> None:
    result = target_scores(np.array([[6, 2], [0, 0]]), classes=("road", "sky"))
    assert result.to_json() == {"miou": 0.75, "iou": {"road": 0.75, "sky": None}}
    assert target_scores(torch.zeros(2, 2), classes=("road", "sky")).to_json() == {"miou": None, "iou": {"road": None, "sky": None}}


def test_means_are_taken_over_the_classes_that_occur_whatever_is_predicted() -> None:
    names = ("road", "wall", "terrain")
    confusion = np.array([[6, 0, 2], [1, 1, 0], [0, 0, 0]])  # terrain is predicted, but does not occur
    result = target_scores(confusion, names, occurring=("road", "wall"), subsets={"miou1": ("road", "terrain")})
    assert result.means == {"miou": (6 / 9 + 1 / 2) / 2, "miou1": 6 / 9}
    assert result.iou == {"road": 6 / 9, "wall": 1 / 2, "terrain": None}
    stray = confusion + np.diag([0, 0, 3])  # pixels of a class that the data set is said not to have
    assert target_scores(stray, names, occurring=("road", "wall")).iou["terrain"] is None


def test_table_shows_the_further_means_and_the_views(results: Results) -> None:
    content = results.to_json()
    for target in content["targets"].values():
        target["miou16"] = 0.25
    content["targets"]["mapillary"]["view"] = "centre_1536"
    lines = lines_of(Results.model_validate(content))
    rows = {line[:9].strip(): line[9:].split() for line in lines}
    assert rows["mIoU16"] == ["25.0"] * 4
    assert "evaluation view: mapillary centre_1536" in lines


def test_mean_is_unweighted_over_the_targets() -> None:
    targets = {name: TargetScores(means={"miou": miou}, iou={}, conditions={}) for name, miou in (("a", 0.2), ("b", 0.5), ("c", None))}
    assert Results(targets=targets).mean() == pytest.approx(0.35)
    assert Results(targets={}).mean() is None


def test_table_has_a_row_per_class_then_the_means_and_the_floors(results: Results) -> None:
    floors = {"untrained network": dict.fromkeys(results.targets, 0.01), "most frequent class at each position": {"cityscapes": 0.1}}
    lines = lines_of(changed(results, floors=floors))
    assert max(map(len, lines)) <= 100
    rows = {line[:38].strip(): line[38:].split() for line in lines}
    assert [name for name in rows if name in CLASSES] == list(CLASSES)
    assert rows["road"] == ["10.0", "10.0", f"{100 * results.targets['mapillary'].iou['road']:.1f}"]  # type: ignore[operator]
    assert rows["train"][-1] == "-"
    mious = [target.miou for target in results.targets.values()]
    assert rows["mIoU"] == [f"{100 * value:.1f}" for value in [*mious, sum(mious) / 3]]  # type: ignore[operator, arg-type]
    assert rows["untrained network"] == ["1.0"] * 4
    assert rows["most frequent class at each position"] == ["10.0", "-", "-", "10.0"]


def test_columns_are_aligned(results: Results) -> None:
    lines = lines_of(results)
    head = next(line for line in lines if "cityscapes" in line)
    end = head.index("cityscapes") + len("cityscapes")
    assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines if line.startswith(CLASSES))


def test_caption_says_what_was_run_and_when_it_is_a_stand_in(results: Results) -> None:
    table = score_table(changed(results, selection="best source validation")).text()
    for text in ("pin_the_memory", "deeplabv3plus_resnet50", "gtav, synthia", "whole", "best source validation"):
        assert text in table
    assert STAND_IN_NOTE not in table
    assert STAND_IN_NOTE in score_table(changed(results, stand_in=True)).text()


def test_json_holds_the_results_with_null_for_nan(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.json"
    write_json(path, {**results.to_json(), "extra": [float("nan"), np.float32(0.5), torch.tensor(2)], "folder": tmp_path})
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["targets"]["mapillary"]["iou"]["train"] is None
    assert read["targets"]["mapillary"]["miou"] == results.targets["mapillary"].miou
    assert read["extra"] == [None, 0.5, 2]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


TARGET = {"miou": 0.1, "iou": {"road": 0.1, "sky": None}}


@pytest.mark.parametrize(
    "content",
    [
        None, "{", b"\xff", [], 3, {}, {"targets": [1]}, {"targets": {"a": 1}}, {"targets": {"a": {"miou": 0.1}}},
        {"targets": {"a": {"iou": {}}}}, {"targets": {"a": {"miou": 0.1, "iou": [0.1]}}}, {"targets": {"a": {"miou": "high", "iou": {}}}},
        {"targets": {"a": {"miou": 0.1, "iou": {"road": {}}}}}, {"targets": {"a": TARGET}, "mean_miou": "high"},
        {"targets": {"a": TARGET}, "source_validation": [0.1]}, {"targets": {"a": TARGET}, "gain": {"targets": {}}},
        {"targets": {"a": TARGET}, "floors": {"constant": 0.1}},
    ],
)  # fmt: skip
def test_damaged_results_are_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else (content if content == "{" else json.dumps(content)).encode())
    expected = r"results\.json cannot be read \(No such file" if content is None else r"results\.json is no readable results file"
    with pytest.raises(ConfigurationError, match=expected):
        Results.read(path)


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    """Fields that a file does not have are not added, and those that are not known here are kept."""
    path = tmp_path / "results.json"
    gain = Gain(baseline="a", targets={"cityscapes": None, "mapillary": results.targets["mapillary"]}, mean_miou=None)
    about = {"floors": {"constant": {"mapillary": None}}, "source_validation": None, "gain": gain}
    for found in (changed(results, **about), Results.model_validate({"targets": {"a": TARGET}, "of_a_later_version": [1]})):
        found.write(path)
        assert Results.read(path) == found
        assert Results.read(path).to_json() == json.loads(path.read_text()) == found.to_json()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"results\.json"):
        write_json(tmp_path / "file" / "results.json", {})


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"miou": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_json(path, {"miou": 2})
    assert json.loads(path.read_text()) == {"miou": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_files_hold_the_table_in_every_form(results: Results, tmp_path: Path) -> None:
    run = changed(results, stand_in=True, protocol="sliding_768@1")
    paths = write_table(score_table(run), tmp_path / "results", list(FORMATS))
    assert [path.name for path in paths] == ["results.md", "results.csv", "results.tex"]
    markdown, table, latex = (path.read_text(encoding="utf-8") for path in paths)
    for text in (markdown, table, latex):
        assert STAND_IN_NOTE in text
        assert "768@1" in text
    rows = {row[0]: row[1:] for row in csv.reader(line for line in table.splitlines() if not line.startswith("#"))}
    assert rows["IoU"] == ["cityscapes", "bdd100k", "mapillary", "mean"]
    assert rows["train"] == [f"{results.targets[name].iou['train'] or 0:.6f}" for name in ("cityscapes", "bdd100k")] + ["", ""]
    assert float(rows["mIoU"][3]) == pytest.approx(results.mean_miou or 0, abs=1e-5)
    assert "| traffic light | 10.0 | 10.0 |" in markdown
    assert "method     pin\\_the\\_memory" in markdown
    assert "\ntrain & 10.0 & 10.0 & -- &  \\\\\n" in latex
    assert latex.count("{") == latex.count("}")


def test_gains_are_shown_with_their_sign_by_class_in_files_alone(results: Results) -> None:
    targets = {"cityscapes": {"miou": -0.021, "iou": {"road": 0.3}}, "bdd100k": {"miou": 0.06, "iou": {}}, "mapillary": None}
    run = changed(results, gain=Gain.model_validate({"baseline": "runs/erm", "targets": targets, "mean_miou": None}))
    lines = [line.split() for line in lines_of(run)]
    assert lines[-1] == ["gain,", "mIoU", "-2.1", "+6.0", "-", "-"]  # of other targets than the baseline's there is no mean
    assert ["gain", "over", "runs/erm"] in lines
    assert not any("road" in line and "gain," in line for line in lines)
    table = score_table(run, class_gains=True)
    assert "| gain, road | +30.0 | - | - |" in table.markdown()
    assert "gain, mIoU & $-$2.1 & +6.0 & -- & -- " in table.latex()
    assert "| gain, mIoU | -2.1 | +6.0 | - | - |" in table.markdown()
    assert '\n"gain, mIoU",-0.021000,0.060000,,\n' in table.csv()
    same = {"baseline": "erm", "targets": {name: {"miou": 0.02, "iou": {}} for name in results.targets}, "mean_miou": 0.02}
    assert lines_of(changed(results, gain=Gain.model_validate(same)))[-1].split()[2:] == ["+2.0"] * 4


def test_statistics_of_batch_norm_are_named_where_they_are_not_the_usual_ones(results: Results) -> None:
    gain = Gain(baseline="runs/erm", statistics="image", targets=dict.fromkeys(results.targets), mean_miou=None)
    lines = lines_of(changed(results, statistics="running", gain=gain))
    assert not any(line.startswith("statistics") for line in lines)
    assert "gain over  runs/erm (statistics of batch norm there: image; here: running)" in lines
    lines = lines_of(changed(results, statistics="image", gain=gain))
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


def test_confusions_are_read_and_damaged_ones_are_an_error(tmp_path: Path) -> None:
    assert read_confusions(tmp_path) == {}
    np.savez(tmp_path / "confusions.npz", a=np.eye(3, dtype=np.int64))
    assert read_confusions(tmp_path)["a"].tolist() == np.eye(3).tolist()
    (tmp_path / "confusions.npz").write_bytes(b"PK\3\4 nonsense")
    with pytest.raises(DataError, match=r"confusions\.npz"):
        read_confusions(tmp_path)
