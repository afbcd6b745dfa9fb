"""A job of a sweep is its settings, not its folder: equal settings and seed are one run, and what is averaged is never chosen."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pin_memory.evaluation.compare import compare, read_runs
from pin_memory.training.sweeps import read_sweep
from pin_memory.training.sweeps.identity import Identity, identity, is_averaged
from pin_memory.training.sweeps.job import _settings
from pin_memory.training.sweeps.summary import as_markdown, as_text
from pin_memory.utils.config import config_directory
from tests.training.test_sweeps import Job, job, run

__all__ = ["job"]  # the fixture

BASE = ["experiment=demo", "paths.run=run"]
LEFT_OUT = ["experiment=camvid_leave_one_out", "paths.run=run"]


def settings_of(*overrides: str, base: list[str] = BASE) -> dict[str, Any]:
    """What a job with these overrides keeps on record."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return _settings(compose("train", [*base, *overrides]))


def identity_of(*overrides: str, base: list[str] = BASE) -> Identity:
    return identity(settings_of(*overrides, base=base), overrides)


EQUAL = [
    (["seed=304", "method=pin_the_memory"], ["method=pin_the_memory"]),  # the defaults, spelt out
    (["optimizer.lr=0.02", "augmentation.crop_size=64"], ["augmentation.crop_size=64", "optimizer.lr=2e-2"]),  # order and spelling
    (["method=erm"], ["method=erm", "network.memory=null", "method.auxiliary_weight=0.4"]),  # a group, and its values
    (["augmentation=demo"], ["augmentation.crop_size=128"]),
    (["schedule=polynomial"], ["method.schedule=${schedule}"]),
    (["logger=csv"], ["logger.wandb.mode=offline", "logger.wandb.tags=[a]"]),
    (["callbacks.panels.per_target=1"], ["~callbacks.wandb_media"]),
    (["trainer.devices=1"], ["trainer.devices=[0]", "trainer.accelerator=auto", "trainer.strategy=auto", "trainer.log_every_n_steps=1"]),
    (["loading.num_workers=3"], ["name=other", "loading.max_bad_share=0.5"]),
    (["trainer.enable_progress_bar=false", "trainer.benchmark=true"], []),
    (["method.weights.divergence=1"], ["method.weights.divergence=1.0"]),  # the same number as another type
    (["method.gradient_clip=5"], ["method.gradient_clip=5.0"]),
    (["method.weights.cohesion=0"], ["method.weights.cohesion=0.0", "optimizer.lr=3.0e-3"]),
    (["data.sources.gtav.root=/sets/gtav"], ["data.sources.gtav.root=/sets/gtav/"]),  # the same folder
    (["data.targets.cityscapes.root=sets"], ["data.targets.cityscapes.root=./sets"]),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_settings_are_one_run(one: list[str], other: list[str]) -> None:
    plus = [f"+{text}" if text.startswith(("trainer.strategy", "trainer.enable_progress")) else text for text in (*one, "", *other)]
    cut = plus.index("")
    assert identity_of(*plus[:cut]) == identity_of(*plus[cut + 1 :])


@pytest.mark.parametrize(
    ("overrides", "differing"),
    [
        (["seed=1"], "place"),
        (["data.stand_in.seed=1"], "place"),
        (["data.sources.gtav.root=/elsewhere"], "place"),
        (["~data.sources.idd"], "place"),
        (["protocol=sliding_768"], "tested"),
        (["floors=false"], "tested"),
        (["test=false"], "tested"),
        (["data.targets.cityscapes.view=half"], "tested"),
        (["+domain@data.targets.acdc=acdc"], "tested"),
        (["loading.max_test_images=3"], "tested"),
        (["optimizer.lr=0.5"], "setting"),
        (["augmentation.crop_size=96"], "setting"),
        (["loading.batch_size=1"], "setting"),
        (["method=erm_memory"], "setting"),
        (["network.channels=8"], "setting"),
        (["trainer.max_steps=7"], "setting"),
        (["trainer.precision=bf16-mixed"], "setting"),
        (["test_statistics.policy=image"], "setting"),  # validation goes by it, too
        (["selection=last"], "setting"),
    ],
)
def test_what_differs(overrides: list[str], differing: str) -> None:
    own, base = identity_of(*overrides), identity_of()
    assert [name for name in Identity._fields if getattr(own, name) != getattr(base, name)] == [differing]


def test_the_domain_that_is_left_out_is_no_setting() -> None:
    one, other = (identity_of(f"target={name}", base=LEFT_OUT) for name in ("0006R0", "Seq05VD"))
    assert one.setting == other.setting
    assert one.place != other.place


@pytest.mark.parametrize(
    ("key", "averaged"),
    [
        ("seed", True), ("target", True), ("data.target", True), ("protocol", True), ("protocol.name", True), ("test", True),
        ("data.domains.0006R0.root", True), ("trainer.devices", True), ("name", True), ("logger.csv.flush_every", None),
        ("domain@data.domains.0006R0", True), ("optimizer.lr", False), ("augmentation.crop_size", False), ("method", False),
        ("augmentation", False), ("trainer.max_steps", False), ("loading.batch_size", False), ("experiment", None),
    ],
)  # fmt: skip
def test_which_settings_are_averaged(key: str, averaged: bool | None) -> None:
    assert is_averaged(key, settings_of(base=LEFT_OUT)) is averaged


def test_a_variable_of_ones_own_is_averaged_if_it_only_names_a_domain() -> None:
    settings = settings_of(base=LEFT_OUT)
    settings |= {"held_out": "0006R0", "rate": 0.1}
    settings["data"]["target"], settings["optimizer"]["lr"] = "${held_out}", "${rate}"
    assert (is_averaged("held_out", settings), is_averaged("rate", settings)) == (True, False)


def sweep_of(folder: Path, scores: dict[tuple[str, ...], float | None], keys: tuple[str, ...], **fixed: Any) -> dict[str, Any]:
    """What is read of a sweep with jobs by the values of the keys; None failed."""
    for values, score in scores.items():
        given = dict(zip(keys, values, strict=True))
        place = folder / ("_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in given.items()) or "job")
        (place / "checkpoints").mkdir(parents=True)
        (place / "checkpoints" / "last.ckpt").touch()
        settings = {
            "method": {"name": "x", "lr": "${optimizer.lr}"}, "optimizer": {"lr": 0.1}, "seed": 1, "test": False, "target": "a",
            "data": {"target": "${target}", "domains": {name: {"root": f"/{name}"} for name in "abc"}}, "protocol": {"name": "whole"},
        } | fixed  # fmt: skip
        cfg = OmegaConf.create(settings)
        for key, value in given.items():
            OmegaConf.update(cfg, key, json.loads(value) if value[0].isdigit() else value)
        record = {
            "status": "failed" if score is None else "finished", "overrides": [f"{key}={value}" for key, value in given.items()],
            "settings": OmegaConf.to_container(cfg), "objective": score, "source_validation": {"a": score},
            "checkpoint": "checkpoints/last.ckpt", "seconds": 1.0, "stand_in": False,
        }  # fmt: skip
        (place / "job.json").write_text(json.dumps(record))
    (folder / ".swept.json").write_text(json.dumps(list(keys)))
    return read_sweep(folder)


AXES = ("optimizer.lr", "target", "seed")


def test_the_target_is_averaged_and_never_chosen(tmp_path: Path) -> None:
    """The easiest target would win otherwise."""
    scores = {("0.1", t, s): {"a": 0.9, "b": 0.1}[t] for t in "ab" for s in "12"} | {("0.2", t, s): 0.6 for t in "ab" for s in "12"}
    sweep = sweep_of(tmp_path / "sweep", scores, AXES)
    assert sweep["averaged"] == ["target", "seed"]
    assert [row["settings"] for row in sweep["settings"]] == [{"optimizer.lr": "0.2"}, {"optimizer.lr": "0.1"}]
    assert sweep["best"]["mean"] == pytest.approx(0.6)
    text = as_text(sweep)
    assert "Best setting: optimizer.lr=0.2 (60.0 ± 0.0; 4 runs)" in text
    assert "Over the target and seeds:" in text
    assert "Over the target and seeds:" in as_markdown(sweep)


def test_a_setting_does_not_win_by_a_target_that_it_lost(tmp_path: Path) -> None:
    scores = {("0.1", "a", "1"): 0.9, ("0.1", "b", "1"): None, ("0.2", "a", "1"): 0.6, ("0.2", "b", "1"): 0.5}
    sweep = sweep_of(tmp_path / "sweep", scores, AXES)
    assert sweep["best"]["settings"] == {"optimizer.lr": "0.2"}
    assert "optimizer.lr=0.1, which has no score with target=b seed=1 while others have one." in sweep["notes"][0]


@pytest.mark.parametrize(
    ("keys", "scores", "said"),
    [
        (("target",), {("a",): 0.1, ("b",): 0.9}, "Only the target differs"),
        (("target",), {("b",): 0.9}, "Only the target differs"),  # a single one, too
        ((), {(): 0.9}, "No setting has several values"),
        (("data.target", "seed"), {("a", "1"): 0.1, ("b", "2"): 0.9}, "Only the target and seed differ"),
        (("protocol.name",), {("whole",): 0.1, ("other",): 0.1}, "Only the name differs"),
        (("data.domains.a.root",), {("x",): 0.1, ("y",): 0.2}, "Only the root differs"),
    ],
)
def test_nothing_is_chosen_where_only_places_differ(
    keys: tuple[str, ...], scores: dict[tuple[str, ...], float], said: str, tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path / "sweep", dict(scores), keys)
    assert sweep["best"] is None
    assert f"{said}: there is no setting to choose." in as_text(sweep)


def test_two_jobs_of_one_run_count_once(tmp_path: Path) -> None:
    """Of a sweep that was widened before this was known: 0.1 had been trained without naming it."""
    folder = tmp_path / "sweep"
    sweep_of(folder, {("1",): 0.5, ("2",): 0.4}, ("seed",))
    sweep = sweep_of(folder, {("0.1", "1"): 0.5, ("0.1", "2"): 0.4, ("0.2", "1"): 0.47, ("0.2", "2"): 0.45}, ("optimizer.lr", "seed"))
    assert {job["name"]: job["same_as"] for job in sweep["jobs"] if job["status"] == "same"} == {
        "lr-0.1_seed-1": "seed-1", "lr-0.1_seed-2": "seed-2"
    } or {job["status"] for job in sweep["jobs"] if job["name"].startswith("seed-")} == {"same"}  # fmt: skip
    assert {row["settings"]["optimizer.lr"]: len(row["jobs"]) for row in sweep["settings"]} == {"0.1": 2, "0.2": 2}
    assert sweep["best"]["settings"] == {"optimizer.lr": "0.2"}
    assert "4 finished, 2 the same run as another" in as_text(sweep)
    assert as_text(sweep).count("which counts once") == 2


def real(**changes: Any) -> dict[str, Any]:
    """Settings of a job in miniature."""
    return {"method": {"lr": 0.1}, "data": {"sources": {"a": {"root": "/a"}}, "targets": {}}, "protocol": "whole"} | changes


def test_a_finished_job_of_another_name_is_not_trained_again(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is on record as such, as long as the run that it is the same as is intact."""
    first = job.folder
    assert job(**real()) == pytest.approx(0.3)
    job.folder = first.with_name("renamed")
    assert job(**real(logger={"mode": "offline"}, callbacks={"x": 1})) == pytest.approx(0.3)
    assert len(job.seen) == 1
    assert job.outcome == {"outcome": "same"}
    assert "is the same run as" in capsys.readouterr().out
    record = json.loads((job.folder / "job.json").read_text())
    assert (record["status"], record["same_as"]) == ("same", first.name)
    sweep = read_sweep(first.parent)
    assert [(one["name"], one["status"]) for one in sweep["jobs"]] == [(first.name, "finished"), ("renamed", "same")]

    (first / "checkpoints" / "last.ckpt").unlink()
    assert job(**real()) == pytest.approx(0.3)
    assert len(job.seen) == 2
    assert json.loads((job.folder / "job.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    "changes",
    [{"method": {"lr": 0.2}}, {"seed": 2}, {"test": True}, {"data": {"sources": {"a": {"root": "/b"}}, "targets": {}}}],
    ids=["setting", "seed", "tested", "data"],
)
def test_a_job_of_other_settings_is_trained(job: Job, changes: dict[str, Any]) -> None:
    job(**real())
    job.folder = job.folder.with_name("other")
    job(**real(**changes))
    assert len(job.seen) == 2


def test_an_unfinished_job_is_no_run_to_stand_for_another(job: Job) -> None:
    assert math.isnan(job(fail=RuntimeError("stopped"), begin=True, **real()) or 0.0)
    job.folder = job.folder.with_name("other")
    assert job(**real()) == pytest.approx(0.3)
    assert [one["status"] for one in read_sweep(job.folder.parent)["jobs"]] == ["finished", "same"]


def test_runs_that_differ_in_variables_alone_are_one_in_a_comparison(tmp_path: Path) -> None:
    """A value that is spelt out, or comes from a variable of one's own; loggers, workers and folders."""
    from tests.helpers.folders import results

    variants: list[dict[str, Any]] = [
        {"optimizer": {"lr": 0.1}, "method": {"lr": "${optimizer.lr}"}},
        {"rate": 0.1, "optimizer": {"lr": "${rate}"}, "method": {"lr": "${optimizer.lr}"}, "logger": {"csv": {"path": "x"}}},
        {"optimizer": {"lr": 0.1}, "method": {"lr": 0.1}, "loading": {"num_workers": 3}, "trainer": {"devices": [0]}},
    ]
    for number, settings in enumerate(variants):
        folder = tmp_path / "runs" / str(number)
        (folder / ".hydra").mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(results()))
        (folder / ".hydra" / "config.yaml").write_text(json.dumps({"seed": 1, "name": "x"} | settings))
    comparison = compare(read_runs(tmp_path / "runs"))
    (row,) = comparison["rows"]
    assert row["mean_miou"]["n"] == 1
    assert sum("run twice" in note for note in comparison["notes"]) == 2


@pytest.mark.slow
def test_a_sweep_that_is_widened_trains_only_what_is_new(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["trainer.max_steps=1", "trainer.val_check_interval=1", "test=false", "sweep=seeds"]
    run(trained_run, tmp_path, capsys, *short, "seed=1,2")
    said = run(trained_run, tmp_path, capsys, *short, "seed=1,2", "augmentation.crop_size=64,96")  # 64 is what it was
    assert said.count("is the same run as") == 2
    assert "4 finished, 2 the same run as another" in said
    sweep = read_sweep(tmp_path / "runs" / "demo" / "sweeps" / "seeds")
    assert {row["settings"]["augmentation.crop_size"]: len(row["jobs"]) for row in sweep["settings"]} == {"64": 2, "96": 2}
