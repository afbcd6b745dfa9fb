"""What the dashboard of a training shows, read back from the files of offline runs."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pin_memory.loggers.keys import ROWS, START, STEPS, find
from pin_memory.utils.labels import CLASSES
from tests.helpers.tiny_run import TINY
from tests.helpers.wandb_records import OfflineRun, read_offline_run

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, trained_run: Path) -> list[OfflineRun]:
    """Two jobs of one sweep, which resume from the same checkpoint."""
    cwd = tmp_path_factory.mktemp("sweep")
    overrides = [o for o in TINY if not o.startswith(("trainer.max_steps", "trainer.val_check_interval"))]
    more = ["trainer.max_steps=5", "trainer.val_check_interval=1", "trainer.log_every_n_steps=1", "test=false", "hydra.sweep.dir=sweep"]
    data = [f"paths.data={trained_run.parents[1] / 'stand_ins'}", f"resume={trained_run}"]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.train", "-m", "experiment=demo", *overrides, *more, *data, "optimizer.lr=0.01,0.02"],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ | {"WANDB_MODE": "offline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return [read_offline_run(cwd / "sweep" / job) for job in ("0", "1")]


def test_jobs_of_a_sweep_are_runs_of_their_own_in_one_group(sweep: list[OfflineRun], trained_run: Path) -> None:
    assert len({read_offline_run(trained_run).id, *(run.id for run in sweep)}) == 3
    assert {(run.group, run.job_type) for run in sweep} == {("demo/sweep", "train")}
    assert [run.name for run in sweep] == ["pin_the_memory seed 304 #0", "pin_the_memory seed 304 #1"]
    assert {tuple(run.tags) for run in sweep} == {("pin_the_memory", "seed-304", "sweep", "stand-in")}
    assert [run.config["optimizer"]["lr"] for run in sweep] == [0.01, 0.02]
    for run in sweep:  # the two steps after the three of the checkpoint, once each, and the validation after either
        assert len(run.history["loss/outer"]) == 2
        assert len(run.history["val/miou"]) == 2


def test_losses_rates_norms_and_validation_are_logged(sweep: list[OfflineRun]) -> None:
    losses = [f"loss/{step}_{term}" for step in ("inner", "outer") for term in ("segmentation", "auxiliary", "cohesion")]
    losses += ["loss/inner", "loss/outer", "loss/divergence", "loss/classification"]
    norms = ["grad_norm/total", "grad_norm/inner", "fast_weights/norm", "fast_weights/step_norm"]
    for run in sweep:
        validation = ["val/miou", "val/miou_gtav", "val/miou_synthia", "val/miou_idd"]
        assert {*losses, *norms, *validation, "lr", "inner_lr"} <= run.history.keys()
        steps = zip(*(run.history[key] for key in ("inner_lr", "fast_weights/step_norm", "grad_norm/inner")), strict=True)
        for rate, step, gradient in steps:
            assert step == pytest.approx(rate * gradient, rel=1e-5)
            assert gradient > 0


def test_the_best_validation_is_the_summary_of_its_score_and_all_steps_are_finished_iterations(
    sweep: list[OfflineRun], trained_run: Path
) -> None:
    for run in sweep:
        validations = {key.removesuffix("/path"): values for key, values in run.history.items() if key.startswith("val/miou")}
        assert run.summary["val/miou"] == pytest.approx(max(validations["val/miou"]), rel=1e-6)
        assert run.summary["val/best_step"] == 4 + validations["val/miou"].index(max(validations["val/miou"]))
        assert set(run.history["trainer/global_step"]) == {4, 5}
    with (trained_run / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/miou"]]
    best = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    assert steps == [best] == [2]
    assert f"(step {best})" in json.loads((trained_run / "results.json").read_text())["selection"]
    assert best in np.load(trained_run / "memory_trace.npz")["step"]


def test_everything_that_is_logged_is_in_the_table_of_keys(sweep: list[OfflineRun], trained_run: Path) -> None:
    """Media are logged under names that begin with their key; charts are tables under `<key>_table`."""
    whole = read_offline_run(trained_run)
    found = {key for run in (*sweep, whole) for key in (*run.history, *run.summary)}
    names = {key for key in found if not key.startswith("_") and key not in ("trainer/global_step", "epoch")}
    heads = {name: [name.partition("_table/")[0]] if "_table/" in name else [name, name.rpartition("/")[0]] for name in names}
    rows = {name: next((row for head in heads[name] if (row := find(head))), None) for name in names}
    assert not [name for name, row in rows.items() if row is None]
    logged = {row.keys for row in rows.values() if row}
    assert not [row.keys for row in ROWS if row.when not in (STEPS, START) and row.keys != ("val/fb_iou",) and row.keys not in logged]
    for row in (row for row in ROWS if row.when == START):
        assert {*row.keys} <= whole.config.keys()


def test_the_iou_of_every_class_is_in_the_summary(trained_run: Path) -> None:
    run, results = read_offline_run(trained_run), json.loads((trained_run / "results.json").read_text())
    for target, scores in results["targets"].items():
        for name, iou in scores["iou"].items():
            assert run.summary.get(f"test/iou_{target}/{name}") == iou


def test_the_names_are_those_of_what_ran(trained_run: Path) -> None:
    run = read_offline_run(trained_run)
    assert (run.config["method_name"], run.config["network_name"]) == ("pin_the_memory", "deeplab_v3plus_resnet18")
    assert (run.name, run.tags) == ("pin_the_memory seed 304", ["pin_the_memory", "seed-304", "stand-in"])


def test_the_memory_is_drawn_over_time(sweep: list[OfflineRun]) -> None:
    for run in sweep:
        files = run.history["memory/similarity/path"]
        assert len(files) == 2
        assert all((run.folder / file).is_file() for file in files)
        assert all(-1 <= value <= 1 for value in run.history["memory/mean_similarity"])


def test_panels_have_masks_whose_classes_can_be_switched(trained_run: Path) -> None:
    run = read_offline_run(trained_run)
    for target in ("cityscapes", "bdd100k", "mapillary"):
        (masks,), (files,) = (run.history[f"panels/{target}/{key}"] for key in ("all_masks", "filenames"))
        assert len(masks) == len(files) == 2
        assert all(set(mask) == {"ground truth", "prediction"} for mask in masks)
        assert all((run.folder / mask["path"]).is_file() for picture in masks for mask in picture.values())
    labels = run.config["_wandb"]["mask/class_labels"]
    for mask in ("prediction", "ground truth"):
        (names,) = (value["value"] for key, value in labels.items() if "panels/mapillary" in key and key.endswith(mask))
        assert list(names.values()) == [*CLASSES, "not evaluated"]


def test_the_settings_are_the_resolved_ones(trained_run: Path) -> None:
    config = read_offline_run(trained_run).config
    assert config["network"]["memory"]["channels"] == config["network"]["channels"] == 16
    assert config["choices"]["method"] == "pin_the_memory"
    assert config["provenance"]["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_the_tables_say_what_the_results_say(trained_run: Path) -> None:
    run, results = read_offline_run(trained_run), json.loads((trained_run / "results.json").read_text())
    table = json.loads((run.folder / run.history["test/classes/path"][0]).read_text())
    assert table["columns"] == ["class", "cityscapes", "bdd100k", "mapillary"]
    for name, *values in table["data"]:
        expected = [target["iou"][name] for target in results["targets"].values()]
        assert values == [None if value is None else pytest.approx(value, abs=0.00006) for value in expected]
    targets = json.loads((run.folder / run.history["test/targets/path"][0]).read_text())
    assert [row[0] for row in targets["data"]] == list(results["targets"])
    assert targets["columns"][-1] == "STAND-IN"
    assert {row[-1] for row in targets["data"]} == {"yes"}
    bars = json.loads((run.folder / run.history["test/miou_table/path"][0]).read_text())
    assert dict(bars["data"])["mean"] == pytest.approx(results["mean_miou"], abs=0.00006)
    assert run.summary["test/mean_miou"] == results["mean_miou"]
    assert "STAND-IN" in run.summary["test/note"]
