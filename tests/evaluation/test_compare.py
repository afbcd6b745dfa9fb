"""Runs over seeds and against a baseline, from results files written by hand, with means and deviations from NumPy."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from scipy.stats import wilcoxon

import pin_memory.compare
from pin_memory.evaluation.compare import compare, compare_runs, read_runs
from pin_memory.evaluation.compare_tables import class_tables, comparison_table, comparison_tables, long_csv, write_comparison
from pin_memory.runs.image_scores import IMAGES, write_image_scores
from pin_memory.runs.results import Results, gain_over
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.tables import STAND_IN_NOTE
from tests.helpers.in_process import run_in_process

CONDITIONS = {"view": "native", "image_scale": 1.0, "label_scale": 1.0, "layout": "official", "images": 5, "classes": ["road", "sky"]}
ERM = {"cityscapes": [(0.30, 0.10), (0.34, 0.20), (0.35, 0.12)], "bdd100k": [(0.2, 0.2), (0.1, 0.3), (0.3, 0.5)]}
PTM = {"cityscapes": [(0.40, 0.20), (0.50, 0.16), (0.45, 0.30)], "bdd100k": [(0.3, 0.2), (0.2, 0.1), (0.5, 0.7)]}


def scored(road: float | None, sky: float | None, **how: Any) -> dict[str, Any]:
    known = [value for value in (road, sky) if value is not None]
    return {"miou": sum(known) / len(known), "iou": {"road": road, "sky": sky}, **CONDITIONS, **how}


def write(folder: Path, method: str, seed: int, targets: dict[str, Any], config: str = "", **about: Any) -> Path:
    """A run folder with results, and settings as Hydra leaves them."""
    folder.mkdir(parents=True)
    run = {"method": method, "network": "r50", "sources": ["gtav", "synthia"], "seed": seed, "protocol": "whole@1", "statistics": "running"}
    run |= {"selection": f"best source validation (step {seed * 100})", "stand_in": False, "source_validation": {"gtav": 0.5 + seed / 100}}
    mean = sum(target["miou"] for target in targets.values()) / len(targets)
    (folder / "results.json").write_text(json.dumps({**run, "targets": targets, "mean_miou": mean, **about}))
    (folder / ".hydra").mkdir()
    text = f"name: gs\nseed: {seed}\nmethod: {{_target_: x, split_seed: '${{seed}}'}}\npaths: {{data: /{seed}}}\n{config}"
    (folder / ".hydra" / "config.yaml").write_text(text)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two methods, three seeds each, as a multirun leaves them."""
    for index, (method, table) in enumerate((("erm", ERM), ("pin_the_memory", PTM))):
        for seed in (1, 2, 3):
            targets = {name: scored(*values[seed - 1]) for name, values in table.items()}
            write(tmp_path / "multirun" / "time" / str(3 * index + seed), method, seed, targets)
    return tmp_path / "multirun"


def test_means_and_deviations_over_seeds(sweep: Path) -> None:
    rows = compare(read_runs(sweep))["rows"]
    assert [(row["method"], row["experiment"], row["sources"], row["seeds"]) for row in rows] == [
        ("erm", "gs", "gtav+synthia", ["1", "2", "3"]),
        ("pin_the_memory", "gs", "gtav+synthia", ["1", "2", "3"]),
    ]
    for row, table in zip(rows, (ERM, PTM), strict=True):
        for name, values in table.items():
            found = row["targets"][name]
            mious = np.mean(values, 1)
            assert found["miou"]["mean"] == pytest.approx(mious.mean())
            assert found["miou"]["std"] == pytest.approx(mious.std(ddof=1))
            assert found["iou"]["sky"]["std"] == pytest.approx(np.std([sky for _, sky in values], ddof=1))
            assert found["miou"]["values"] == pytest.approx(dict(zip("123", mious, strict=True)))
        means = np.mean([np.mean(values, 1) for values in table.values()], 0)
        assert (row["mean_miou"]["mean"], row["mean_miou"]["std"]) == pytest.approx((means.mean(), means.std(ddof=1)))


@pytest.mark.parametrize("name", ["erm", "multirun/time/2"])
def test_gain_is_paired_by_seed(sweep: Path, name: str) -> None:
    """The spread is that of the differences, not of either side."""
    erm, ptm = compare(read_runs(sweep), baseline=name)["rows"]
    assert erm["gain"] is None
    differences = np.mean(PTM["cityscapes"], 1) - np.mean(ERM["cityscapes"], 1)
    gain = ptm["gain"]["targets"]["cityscapes"]["miou"]
    assert (gain["mean"], gain["std"], gain["n"]) == pytest.approx((differences.mean(), differences.std(ddof=1), 3))
    roads = np.array(PTM["bdd100k"])[:, 0] - np.array(ERM["bdd100k"])[:, 0]
    assert ptm["gain"]["targets"]["bdd100k"]["iou"]["road"]["mean"] == pytest.approx(roads.mean())
    both = np.mean([np.mean(PTM[t], 1) - np.mean(ERM[t], 1) for t in ERM], 0)
    assert (ptm["gain"]["mean_miou"]["mean"], ptm["gain"]["mean_miou"]["std"]) == pytest.approx((both.mean(), both.std(ddof=1)))


def test_gain_without_common_seed_is_the_difference_of_means_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a", "erm", 1, {"cityscapes": scored(0.2, 0.4)})
    write(tmp_path / "b", "mldg", 2, {"cityscapes": scored(0.4, 0.6)})
    found = compare(read_runs([tmp_path / "a", tmp_path / "b"]), "erm")
    gain = found["rows"][1]["gain"]
    assert (gain["paired"], gain["mean_miou"]["std"]) == (False, None)
    assert gain["mean_miou"]["mean"] == pytest.approx(0.2)
    assert any("no seed in common" in note for note in found["notes"])


def test_stand_ins_never_stand_next_to_real_scores(tmp_path: Path) -> None:
    write(tmp_path / "a", "erm", 1, {"cityscapes": scored(0.2, 0.4)})
    write(tmp_path / "b", "erm", 2, {"cityscapes": scored(0.4, 0.6)}, stand_in=True)
    with pytest.raises(ConfigurationError, match=r"STAND-IN.*b was evaluated on drawn stand-ins.*a on real"):
        compare(read_runs(tmp_path))
    table = comparison_table(compare(read_runs(tmp_path / "b")))
    assert STAND_IN_NOTE in table.text()
    assert STAND_IN_NOTE in table.markdown()
    assert STAND_IN_NOTE in table.latex()


@pytest.mark.parametrize(
    ("protocol", "how", "word"),
    [("sliding_768@1", {}, "protocols"), ("whole@1", {"view": "half"}, "view"), ("whole@1", {"classes": ["road"]}, "classes")],
)
def test_different_measurements_stay_apart_and_have_no_gain(tmp_path: Path, protocol: str, how: dict[str, Any], word: str) -> None:
    write(tmp_path / "a", "erm", 1, {"cityscapes": scored(0.2, 0.4)})
    write(tmp_path / "b", "erm", 2, {"cityscapes": scored(0.4, 0.6, **how)}, protocol=protocol)
    write(tmp_path / "c", "mldg", 2, {"cityscapes": scored(0.4, 0.6, **how)}, protocol=protocol)
    found = compare(read_runs(tmp_path))
    assert [row["seeds"] for row in found["rows"]] == [["1"], ["2"], ["2"]]
    assert any(word in note and "cannot be compared" in note for note in found["notes"])
    gained = compare(read_runs([tmp_path / "a", tmp_path / "c"]), "erm")
    assert gained["rows"][1]["gain"]["targets"]["cityscapes"] is None
    assert gained["rows"][1]["gain"]["mean_miou"] is None
    assert any("no gain" in note for note in gained["notes"])


def test_each_row_goes_by_the_baseline_of_its_own_protocol_and_network(tmp_path: Path) -> None:
    for index, (protocol, network) in enumerate((("whole@1", "r50"), ("sliding_768@1", "r50"), ("whole@1", "r101"))):
        write(tmp_path / f"e{index}", "erm", 1, {"cityscapes": scored(0.1 * index, 0.1)}, protocol=protocol, network=network)
        write(tmp_path / f"p{index}", "pin", 1, {"cityscapes": scored(0.5, 0.1)}, protocol=protocol, network=network)
    rows = {(row["method"], row["protocol"], row["network"]): row for row in compare(read_runs(tmp_path), "erm")["rows"]}
    for index, key in enumerate((("whole@1", "r50"), ("sliding_768@1", "r50"), ("whole@1", "r101"))):
        gain = rows["pin", *key]["gain"]["targets"]["cityscapes"]["iou"]["road"]
        assert gain["mean"] == pytest.approx(0.5 - 0.1 * index)


def test_settings_that_differ_make_rows_of_their_own_and_are_named(tmp_path: Path) -> None:
    for seed in (1, 2):
        for weight in (0.2, 0.4):
            more = f"weights: {{divergence: {weight}}}\ntrainer: {{accelerator: {'cpu' if seed == 1 else 'gpu'}}}\n"
            write(tmp_path / f"{seed}_{weight}", "pin", seed, {"cityscapes": scored(weight, 0.1)}, more)
    rows = compare(read_runs(tmp_path))["rows"]
    assert [row["seeds"] for row in rows] == [["1", "2"]] * 2
    assert sorted(row["settings"]["weights.divergence"] for row in rows) == [0.2, 0.4]
    assert all(list(row["settings"]) == ["weights.divergence"] for row in rows)
    assert sorted(row["label"] for row in rows) == ["pin, weights.divergence=0.2", "pin, weights.divergence=0.4"]


def test_settings_of_an_evaluation_agree_with_those_of_its_run(tmp_path: Path) -> None:
    """A checkpoint holds some settings as values that Hydra's file has as references, seeds among them."""
    more = "trainer: {max_steps: 9}\nsplit: {seed: '${seed}'}\nschedule: {horizon: '${trainer.max_steps}'}\ndata: {split: '${split}'}\n"
    write(tmp_path / "run", "pin", 1, {"cityscapes": scored(0.5, 0.1)}, more)
    evaluated = write(tmp_path / "evaluated", "pin", 2, {"cityscapes": scored(0.3, 0.1)})
    values = more.replace("'${seed}'", "2").replace("'${trainer.max_steps}'", "9")
    text = (evaluated / ".hydra" / "config.yaml").read_text() + values
    (evaluated / "settings.yaml").write_text(text)
    (evaluated / ".hydra" / "config.yaml").write_text("name: evaluation\ncheckpoint: x\n")
    (row,) = compare(read_runs(tmp_path))["rows"]
    assert (row["seeds"], row["experiment"], row["settings"]) == (["1", "2"], "gs", {})


def test_the_number_of_devices_is_a_setting_that_differs(tmp_path: Path) -> None:
    """As runs were recorded before there were several devices, as they are now, on another of the machine's GPUs, and on several."""
    one = ("{}", "{devices: 1}", "{devices: [3], strategy: auto, sync_batchnorm: auto, use_distributed_sampler: false}")
    several = ("{devices: 2, strategy: ddp, num_nodes: 1}", "{devices: 2, strategy: ddp, num_nodes: 2}")
    for index, trainer in enumerate((*one, *several)):
        write(tmp_path / str(index), "erm", index % 3, {"cityscapes": scored(0.2, 0.1)}, f"trainer: {trainer}\n")
    rows = compare(read_runs(tmp_path))["rows"]
    assert sorted(len(row["folders"]) for row in rows) == [1, 1, 3]
    found_settings = {len(row["folders"]): row["settings"] for row in rows}
    assert found_settings[3] == {"trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto"}
    assert {(row["settings"]["trainer.devices"], row["settings"]["trainer.num_nodes"]) for row in rows} == {(1, 1), (2, 1), (2, 2)}


def test_runs_on_all_devices_of_different_machines_differ(tmp_path: Path) -> None:
    """The settings say `auto` for both; the results say what that came to."""
    for devices in (1, 4):
        path = write(tmp_path / str(devices), "erm", 1, {"cityscapes": scored(0.2, 0.1)}, "trainer: {devices: auto, strategy: ddp}\n")
        results = json.loads((path / "results.json").read_text())
        (path / "results.json").write_text(json.dumps(results | {"devices": devices}))
    assert {row["settings"]["trainer.devices"] for row in compare(read_runs(tmp_path))["rows"]} == {1, 4}


def test_of_two_runs_with_one_seed_the_later_counts(tmp_path: Path) -> None:
    for index, value in enumerate((0.2, 0.6)):
        path = write(tmp_path / f"run{index}", "erm", 1, {"cityscapes": scored(value, value)})
        os.utime(path / "results.json", (index, index))
    found = compare(read_runs(tmp_path))
    assert found["rows"][0]["mean_miou"]["mean"] == pytest.approx(0.6)
    assert any("run twice" in note and "run1 counts" in note for note in found["notes"])
    assert len(compare(read_runs(tmp_path), over_seeds=False)["rows"]) == 2


def test_runs_are_found_by_folder_file_glob_and_below(sweep: Path, caplog: pytest.LogCaptureFixture) -> None:
    time = sweep / "time"
    for patterns, count in ((sweep, 6), (time / "1", 1), (time / "1" / "results.json", 1), (time / "*", 6), ([time / "1", sweep], 6)):
        assert len(read_runs(patterns)) == count
    (time / "7_failed").mkdir()
    assert len(read_runs(time / "*")) == 6
    assert "7_failed" in caplog.text
    assert read_runs(time / "2")[0].label == "time/2"


@pytest.mark.parametrize("fault", ["nothing", "folder", "damaged", "foreign"])
def test_what_is_no_run_is_named(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "run"
    if fault != "nothing":
        path.mkdir()
    if fault in ("damaged", "foreign"):
        (path / "results.json").write_text('{"targets": ' if fault == "damaged" else '{"a": 1}')
    with pytest.raises(ConfigurationError, match=str(path)):
        read_runs(path)


@pytest.mark.parametrize("damage", [{"targets": {"a": {"miou": 0.1}}}, {"targets": [1]}, {"mean_miou": "0.1"}, {"source_validation": [1]}])
def test_damaged_results_are_an_error_with_their_file(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = write(tmp_path / "a", "erm", 1, {"cityscapes": scored(0.2, 0.4)}) / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(ConfigurationError, match=r"a/results\.json is no readable results file.*expected"):
        read_runs(tmp_path)


def test_baselines_that_are_none_or_unclear(tmp_path: Path) -> None:
    for weight in (1, 2):
        write(tmp_path / f"e{weight}", "erm", 1, {"cityscapes": scored(0.1, 0.1)}, f"weight: {weight}\n")
    write(tmp_path / "p", "pin", 1, {"cityscapes": scored(0.1, 0.1)})
    runs = read_runs(tmp_path)
    with pytest.raises(ConfigurationError, match=r"baseline=mldg is none.*erm.*pin"):
        compare(runs, "mldg")
    with pytest.raises(ConfigurationError, match=r"baseline=erm fits 2 rows .*e1; .*e2\).*folder"):
        compare(runs, "erm")
    assert compare(runs, str(tmp_path / "e2"))["rows"][2]["gain"]["mean_miou"]["mean"] == pytest.approx(0)


def test_gains_on_single_images_are_tested(sweep: Path) -> None:
    """Differences by image and target, means over the seeds that both have, against SciPy; images of one run alone do not count."""
    random, time = np.random.default_rng(0), sweep / "time"
    scores = {folder.name: random.random((2, 12)) for folder in time.iterdir()}
    for name, values in scores.items():
        targets = zip(("cityscapes", "bdd100k"), values.tolist(), strict=True)
        images = {target: {str(n): value for n, value in enumerate(row)} for target, row in targets}
        images["cityscapes"] |= {"unlabelled": float("nan"), f"alone {name}": 0.5}
        write_image_scores(time / name / IMAGES, images)
    erm, ptm = compare(read_runs(sweep), "erm")["rows"]
    assert erm["gain"] is None
    differences = np.mean([scores[str(3 + seed)] - scores[str(seed)] for seed in (1, 2, 3)], axis=0)
    test = ptm["gain"]["image_test"]
    assert (test["pairs"], test["better"]) == (24, int((differences > 0).sum()))
    assert test["p"] == pytest.approx(wilcoxon(differences.ravel()).pvalue, rel=1e-3)
    text = comparison_tables(compare(read_runs(sweep), "erm"))[1].text()
    assert f"{test['better']} of 24" in text
    assert "images better" in text
    (time / "5" / IMAGES).unlink()
    assert compare(read_runs(sweep), "erm")["rows"][1]["gain"]["image_test"]["pairs"] == 24, "two seeds are left"


def test_methods_have_the_names_they_are_given(sweep: Path, tmp_path: Path) -> None:
    given = "{erm: Plain training, pin_the_memory: Pin the Memory}"
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        settings = [f"runs={sweep}", "baseline=erm", f"names={given}", f"output={tmp_path / 'out'}"]
        found = compare_runs(compose("compare", overrides=settings))
    assert [(row["method"], row["label"]) for row in found["rows"]] == [("Plain training",) * 2, ("Pin the Memory",) * 2]
    assert found["rows"][1]["gain"]["baseline"] == found["baseline"] == "Plain training"
    unnamed = compare(read_runs(sweep), "erm")["rows"]
    assert found["rows"][1]["gain"]["mean_miou"] == unnamed[1]["gain"]["mean_miou"]
    for name in ("comparison.md", "comparison.tex", "comparison.csv"):
        text = (tmp_path / "out" / name).read_text()
        assert "Plain training" in text
        assert "pin_the_memory" not in text
    report = (tmp_path / "out" / "report.html").read_text()
    assert "gain over Plain training," in report
    assert '<span class="badge">baseline</span>' in report
    assert compare(read_runs(sweep), "Plain training", names={"erm": "Plain training"})["rows"][1]["gain"] == found["rows"][1]["gain"]
    with pytest.raises(ConfigurationError, match="names: mldg is none of the methods and variants compared, erm, pin_the_memory"):
        compare(read_runs(sweep), names={"mldg": "MLDG"})
    with pytest.raises(ConfigurationError, match="names: A, A are not all different"):
        compare(read_runs(sweep), names={"erm": "A", "pin_the_memory": "A"})


def test_gain_of_one_run_over_another() -> None:
    one = {"protocol": "whole@1", "mean_miou": 0.4, "targets": {"a": scored(0.5, 0.3), "b": scored(0.5, None)}}
    two = {"protocol": "whole@1", "mean_miou": 0.3, "targets": {"a": scored(0.4, 0.3), "b": scored(0.1, 0.1, view="half")}}

    def gain(other: dict[str, Any]) -> dict[str, Any]:
        return gain_over(Results.model_validate(one), Results.model_validate(other), "two").model_dump()

    found = gain(two)
    assert found["targets"]["a"]["iou"] == pytest.approx({"road": 0.1, "sky": 0.0})
    assert found["targets"]["a"]["miou"] == pytest.approx(0.05)
    assert (found["targets"]["b"], found["mean_miou"]) == (None, None)
    assert gain(two | {"protocol": "whole_flip@1"})["targets"] == {"a": None, "b": None}
    assert (found["statistics"], gain(two | {"statistics": "image"})["statistics"]) == (None, "image")
    assert gain(one | {"mean_miou": 0.3})["mean_miou"] == pytest.approx(0.1)


def test_the_table_shows_means_deviations_and_gains(sweep: Path) -> None:
    text = comparison_table(compare(read_runs(sweep), "erm")).text()
    lines = [line.split() for line in text.splitlines()]
    mious = {t: np.mean(PTM[t], 1) * 100 for t in PTM}
    cells = [f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" for v in (*mious.values(), np.mean(list(mious.values()), 0))]
    assert ["mIoU", "pin_the_memory", "3", "(1,", "2,", "3)", *" ".join(cells).split()] in lines
    gains = [np.mean(PTM[t], 1) * 100 - np.mean(ERM[t], 1) * 100 for t in PTM]
    cells = [f"{v.mean():+.1f} ± {v.std(ddof=1):.1f}" for v in (*gains, np.mean(gains, 0))]
    assert ["gain,", "mIoU", "pin_the_memory", "3", "(1,", "2,", "3)", *" ".join(cells).split()] in lines


def test_files_agree(sweep: Path, tmp_path: Path) -> None:
    comparison = compare(read_runs(sweep), "erm")
    paths = write_comparison(comparison, tmp_path / "out", ["markdown", "csv", "latex", "json"])
    assert [path.name for path in paths] == ["comparison.md", "comparison.csv", "comparison.tex", "comparison.json"]
    assert json.loads(paths[3].read_text()) == json.loads(json.dumps(comparison))
    rows = list(csv.DictReader(paths[1].open()))
    (line,) = [r for r in rows if (r["method"], r["target"], r["score"]) == ("pin_the_memory", "bdd100k", "road")]
    roads = np.array(PTM["bdd100k"])[:, 0]
    assert float(line["mean"]) == pytest.approx(roads.mean(), abs=1e-5)
    assert float(line["std"]) == pytest.approx(roads.std(ddof=1), abs=1e-5)
    assert float(line["gain"]) == pytest.approx((roads - np.array(ERM["bdd100k"])[:, 0]).mean(), abs=1e-5)
    (line,) = [r for r in rows if (r["method"], r["target"]) == ("pin_the_memory", "mean")]
    assert float(line["mean"]) == pytest.approx(comparison["rows"][1]["mean_miou"]["mean"], abs=1e-5)
    assert (line["label"], line["seeds"], line["n"], line["gain_n"]) == ("pin_the_memory", "1 2 3", "3", "3")
    latex, markdown = paths[2].read_text(), paths[0].read_text()
    assert latex.count("\\toprule") == 2 + len(comparison["targets"])  # scores, what is beside them, and the classes of each target
    assert "pin\\_the\\_memory & 3 (1, 2, 3) &" in latex
    assert "| pin\\_the\\_memory | 3 (1, 2, 3) |" in markdown
    assert len(class_tables(comparison)) == 2
    assert [latex.count(f"\\label{{tab:{name}}}") for name in ("comparison", "comparison-cityscapes", "comparison-bdd100k")] == [1, 1, 1]
    means = [float(row["mean_miou"]["mean"]) for row in comparison["rows"]]
    bold = [line for line in markdown.splitlines() if line.startswith("| mIoU ") and line.rstrip(" |").endswith("**")]
    assert [line.split("|")[2].strip() for line in bold] == [comparison["rows"][means.index(max(means))]["label"].replace("_", "\\_")]


def test_lines_of_the_csv_differ_without_seeds(sweep: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(long_csv(compare(read_runs(sweep), over_seeds=False)))))
    names = [(line["label"], line["seeds"], line["target"], line["score"]) for line in lines]
    assert len(set(names)) == len(names)
    assert {(label, seed) for label, seed, _, _ in names} == {(f"time/{1 + index}", str(1 + index % 3)) for index in range(6)}


@pytest.mark.slow
def test_compare_on_the_command_line(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quoted glob, a baseline by method, all formats; then a mistake."""
    monkeypatch.setenv("COLUMNS", "200")
    base = [f"runs={sweep.name}/*/*"]
    out = ["baseline=erm", "output=out", "formats=[markdown,csv,latex,json,html]"]
    code, said, errors = run_in_process(pin_memory.compare.main, [*base, *out], tmp_path, capsys)
    assert code == 0, errors
    assert comparison_table(compare(read_runs(sweep), "erm")).text() in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"comparison.md", "comparison.csv", "comparison.tex", "comparison.json", "report.html"}
    assert "pin_the_memory" in (tmp_path / "out" / "report.html").read_text()
    code, _, errors = run_in_process(pin_memory.compare.main, [*base, "baseline=mldg"], tmp_path, capsys)
    assert (code, "Traceback" in errors) == (2, False)
    assert "baseline=mldg is none of the runs compared; choose one of erm" in errors


@pytest.mark.parametrize(
    ("wrong", "expected"), [("formats=[word]", "formats=word.*markdown"), ("runs=nowhere", "runs=nowhere.*results.json")]
)
def test_mistakes_in_the_settings_of_compare(sweep: Path, wrong: str, expected: str) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("compare", overrides=[f"runs={sweep}", wrong])
    with pytest.raises(ConfigurationError, match=expected):
        compare_runs(cfg)


def test_nothing_is_written_without_an_output(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(tmp_path.rglob("*"))
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        comparison = compare_runs(compose("compare", overrides=[f"runs=[{sweep}]", "over_seeds=false"]))
    assert len(comparison["rows"]) == 6
    assert "time/3" in capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
