"""Sweeps: through the command line on stand-ins, and their parts."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pin_memory.cli.command import report_failure
from pin_memory.cli.errors import explain
from pin_memory.train import main
from pin_memory.training import checks
from pin_memory.training.sweeps import job as sweep_job
from pin_memory.training.sweeps import read_sweep
from pin_memory.training.sweeps.summary import SweepSummary, as_markdown, as_text, job_name, swept_keys
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.in_process import run_in_process
from tests.helpers.locked import locked_by_another_process
from tests.helpers.tiny_run import TINY

Sweep = Callable[..., subprocess.CompletedProcess[str]]


def arguments(trained_run: Path, *overrides: str) -> list[str]:
    """Those of a sweep over drawings that are there."""
    given = {override.partition("=")[0] for override in overrides}
    tiny = [override for override in TINY if override.partition("=")[0] not in given]
    data = f"paths.data={trained_run.parents[1] / 'stand_ins'}"
    return ["-m", "experiment=demo", data, "logger=csv", "floors=false", *tiny, *overrides]


def run(trained_run: Path, cwd: Path, capsys: pytest.CaptureFixture[str], *overrides: str, code: int = 0) -> str:
    """What a sweep in `cwd` prints; its exit code is checked."""
    found, output, errors = run_in_process(main, arguments(trained_run, *overrides), cwd, capsys)
    assert found == code, errors + output
    return output + errors


SEEDS = Path("runs") / "demo" / "sweeps" / "seeds"


@pytest.fixture(scope="module")
def first(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a sweep of four jobs, of which one fails, was started as a user would, and what it printed."""
    cwd = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "-m", "pin_memory.train", *arguments(trained_run, "sweep=seeds", "seed=1,2,-1,3", *SAME)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr + done.stdout
    return cwd, done.stdout + done.stderr


SAME = ["trainer.max_steps=2", "trainer.val_check_interval=1"]


@pytest.fixture
def sweep(first: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that place."""
    shutil.copytree(first[0], tmp_path / "cwd")
    return tmp_path / "cwd"


@pytest.mark.slow
def test_a_job_that_fails_leaves_a_table_of_the_others(first: tuple[Path, str]) -> None:
    """Three scores on the screen and in three files, the failed job by name, an exit code that says so (see the fixture)."""
    cwd, said = first
    assert "3 finished, 1 failed" in said
    assert "job #2 of the sweep: " in said
    assert "Failed: seed--1 (" in said
    assert "STAND-IN" in said
    assert "Traceback" not in said
    result = json.loads((cwd / SEEDS / "sweep.json").read_text())
    assert sorted(job["name"] for job in result["jobs"] if job["status"] == "finished") == ["seed-1", "seed-2", "seed-3"]
    for job in result["jobs"][:3]:
        with (cwd / SEEDS / job["name"] / "metrics.csv").open() as file:
            scores = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
        assert job["objective"] == pytest.approx(max(scores), abs=1e-6)  # the best checkpoint's
    rows = list(csv.DictReader((cwd / SEEDS / "sweep.csv").open()))
    assert [row["status"] for row in rows] == ["finished"] * 3 + ["failed"]
    assert (cwd / SEEDS / "sweep.md").read_text().count("| seed-") == 3
    assert "STAND-IN" in (cwd / SEEDS / "sweep.md").read_text()


@pytest.mark.slow
def test_a_sweep_that_is_started_again_makes_only_what_is_missing(
    trained_run: Path, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Finished jobs are skipped and left as they are; the failed one is tried again."""
    before = {path: path.stat().st_mtime_ns for path in (sweep / SEEDS).rglob("*.ckpt")}
    said = run(trained_run, sweep, capsys, "sweep=seeds", "seed=1,2,-1,3", *SAME, code=2)
    assert said.count("was finished before.") == 3
    assert "3 finished (3 of them before this start), 1 failed" in said
    assert before == {path: path.stat().st_mtime_ns for path in (sweep / SEEDS).rglob("*.ckpt")}


@pytest.mark.slow
def test_a_search_with_optuna_takes_what_is_finished(trained_run: Path, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the seeds that are there, so that nothing is trained."""
    search = ["sweep=seeds", "seed=choice(1,2)", "hydra/sweeper=pin_memory_optuna", "hydra.sweeper.n_trials=2"]
    said = run(trained_run, sweep, capsys, *search, *SAME)
    assert "0 of 2 trials have a score" in said
    assert said.count("was finished before") == 2
    assert (sweep / SEEDS / "optuna.db").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "seeds", "code"), [("joblib", "1,4", 0), ("submitit_local", "1,-1", 2)])
def test_other_launchers(trained_run: Path, sweep: Path, launcher: str, seeds: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that is skipped, and one that trains or fails, in processes of their own."""
    said = run(trained_run, sweep, capsys, "sweep=seeds", f"seed={seeds}", f"hydra/launcher={launcher}", *SAME, code=code)
    assert "(1 of them before this start)" in said
    if code:
        assert "Failed: seed--1 (" in said
    else:
        assert (sweep / SEEDS / "seed-4" / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.reliability
def test_a_killed_job_is_resumed_where_it_was(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In its folder, from its last checkpoint, with the metrics of before."""
    overrides = ["sweep=seeds", "seed=1", "trainer.max_steps=8", "trainer.val_check_interval=1", "logger.csv.flush_every=1"]
    job = tmp_path / "runs" / "demo" / "sweeps" / "seeds" / "seed-1"
    process = subprocess.Popen(
        [sys.executable, "-m", "pin_memory.train", *arguments(trained_run, *overrides)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (job / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((job / "job.json").read_text())["status"] == "running"
    assert read_sweep(job.parent)["jobs"][0]["status"] == "unfinished"

    said = run(trained_run, tmp_path, capsys, *overrides, "test=true")
    assert "Resuming the unfinished run in" in said
    with (job / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert set(steps) == set(range(1, 9)) or set(steps) == set(range(8))
    assert steps.count(steps[0]) == 1  # it did not start from the beginning
    assert (job / "results.json").is_file()
    assert json.loads((job / "job.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_job_that_was_killed_while_it_was_evaluated_is_only_evaluated(trained_run: Path, tmp_path: Path) -> None:
    """All steps are made: nothing is trained, and the results are those of before."""
    from pin_memory.training.run import train

    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    before = json.loads((run / "results.json").read_text())
    metrics, weights = ((run / name).read_bytes() for name in ("metrics.csv", "checkpoints/best.ckpt"))
    (run / "results.json").unlink()
    cfg = OmegaConf.load(run / ".hydra" / "config.yaml")
    data = {"data": str(trained_run.parents[1] / "stand_ins"), "output": str(tmp_path), "run": str(run)}
    cfg = OmegaConf.merge(cfg, {"resume": str(run), "floors": False, "paths": data})
    del cfg.logger["wandb"]
    results = train(cfg, {"network": before["network"]})
    assert results["targets"] == before["targets"]
    assert results["source_validation"] == before["source_validation"]
    assert metrics == (run / "metrics.csv").read_bytes()
    assert weights == (run / "checkpoints" / "best.ckpt").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["sweep=loss_weights", "method=erm"], "method.weights"),  # it has none: reported before the first job
        (["sweep=lossweights"], "loss_weights"),
        (["sweep=optuna_loss_weights", "hydra.sweeper.n_trials=0"], "n_trials=0"),
        (["sweep=optuna_loss_weights", "hydra.sweeper.storage=nonsense://x"], "nonsense"),
        (["hydra/sweeper=pin_memory_optuna", "-m"], "Nothing to search for"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], expected: str) -> None:
    code, _, errors = run_in_process(main, ["experiment=demo", *overrides], tmp_path, capsys)
    assert code == 2
    assert expected in errors
    assert "Traceback" not in errors


# The parts


class Job:
    """`run_job` on a task of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.seen: list[DictConfig] = []
        hydra = OmegaConf.create({"mode": RunMode.MULTIRUN, "overrides": {"task": ["seed=1"]}, "job": {"num": 0}})
        monkeypatch.setattr(sweep_job.HydraConfig, "get", lambda: hydra)
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def __call__(self, fail: BaseException | None = None, begin: bool = False, **settings: Any) -> float | None:
        cfg = OmegaConf.create(
            {"seed": 1, "test": False, "resume": None, "logger": {}, "paths": {"data": "data", "run": str(self.folder)}} | settings
        )

        def task(cfg: DictConfig) -> dict[str, Any]:
            self.seen.append(cfg)
            (self.folder / "checkpoints").mkdir(exist_ok=cfg.resume is not None)
            if begin or fail is None:
                (self.folder / "checkpoints" / "last.ckpt").write_text("weights")
            if fail:
                raise fail
            if cfg.test:
                (self.folder / "results.json").write_text('{"targets": {}}')
            return {"source_validation": {"a": 0.2, "b": 0.4}, "checkpoint": "checkpoints/last.ckpt", "mean_miou": 0.9}

        return sweep_job.run_job(task, cfg, report_failure)

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads((self.folder.parent / ".outcomes" / f"{self.folder.name}.json").read_text())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path / "sweep" / "job", monkeypatch)


def test_the_objective_is_the_mean_over_the_sources(job: Job) -> None:
    """Nothing of a target: `mean_miou` in what the task returns is one."""
    assert job() == pytest.approx(0.3)
    assert sweep_job.objective({"source_validation": {}}) is None
    assert sweep_job.objective({"mean_miou": 0.9, "targets": {"x": {"miou": 0.9}}}) is None


def test_a_finished_job_is_skipped_unless_its_results_are_damaged(job: Job) -> None:
    assert job(test=True) == job(test=True)
    assert len(job.seen) == 1
    assert job.outcome == {"outcome": "skipped"}
    (job.folder / "results.json").write_text('{"targets"')
    job(test=True)
    assert len(job.seen) == 2
    (job.folder / "checkpoints" / "last.ckpt").unlink()
    job(test=True)
    assert len(job.seen) == 3
    assert (job.folder / "unfinished_1" / "old_results.json").is_file()  # without a checkpoint there was nothing to resume from


def test_a_finished_job_of_other_settings_is_refused_and_kept(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job(optimizer={"lr": 0.1})
    kept = {path: path.read_bytes() for path in job.folder.rglob("*") if path.is_file()}
    assert math.isnan(job(optimizer={"lr": 0.2}) or 0.0)
    assert "optimizer.lr: 0.1 before, 0.2 now" in capsys.readouterr().err
    assert job.outcome["outcome"] == "failed"
    assert job.outcome["exit_code"] == 2
    assert kept == {path: path.read_bytes() for path in job.folder.rglob("*") if path.is_file()}
    assert job(optimizer={"lr": 0.1}, logger={"mode": "offline"}) == pytest.approx(0.3)  # where metrics go does not matter
    assert math.isnan(job(optimizer={"lr": 0.1}, paths={"data": "elsewhere", "run": str(job.folder)}) or 0.0)


def test_an_unfinished_job_is_resumed_from_its_checkpoint(job: Job) -> None:
    assert math.isnan(job(fail=RuntimeError("out of memory"), begin=True) or 0.0)
    assert job.outcome["outcome"] == "failed"
    assert "RuntimeError: out of memory" in job.outcome["error"]
    written = (job.folder / ".hydra" / "config.yaml").stat()
    assert job() == pytest.approx(0.3)
    assert job.seen[-1].resume == str(job.folder)
    assert (job.folder / ".hydra" / "config.yaml").stat() == written, "the settings on record stay as they are"
    assert job() == pytest.approx(0.3)
    assert len(job.seen) == 2


def test_an_unfinished_job_of_other_settings_or_without_checkpoint_starts_anew(job: Job) -> None:
    """What was there is moved aside, not deleted."""
    job(fail=ValueError(), begin=True, optimizer={"lr": 0.1})
    job(fail=ValueError(), begin=False, optimizer={"lr": 0.2})
    assert (job.folder / "unfinished_1" / "checkpoints" / "last.ckpt").is_file()
    assert job(optimizer={"lr": 0.2}) == pytest.approx(0.3)
    assert (job.folder / "unfinished_2" / "checkpoints").is_dir()
    assert [cfg.resume for cfg in job.seen] == [None] * 3


def test_ctrl_c_ends_the_sweep(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        job(fail=KeyboardInterrupt())
    assert json.loads((job.folder / "job.json").read_text())["status"] == "interrupted"


def test_a_job_without_a_validation_is_refused() -> None:
    """It would end without a score; a run by itself may."""
    cfg = OmegaConf.create({"dry_run": False, "trainer": {"max_steps": 10, "val_check_interval": 20}})
    with pytest.raises(ConfigurationError, match=r"val_check_interval=20 is above trainer\.max_steps=10\. Set it to 10 or less"):
        checks._check_sweep(cfg)


def test_a_job_that_another_process_is_at_is_left_alone(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pin_memory.utils.locking.PATIENCE", 0.1)
    with locked_by_another_process(job.folder):
        job()
    assert "another process" in capsys.readouterr().err
    assert not job.seen
    assert job() == pytest.approx(0.3)


def test_a_job_whose_process_was_killed_is_reported() -> None:
    """The errors that the launchers raise for it."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from submitit.core.utils import UncompletedJobError

    for error in (UncompletedJobError("Job 7 has not produced any output\nmore"), TerminatedWorkerError("A worker was killed")):
        mistake = explain(error)
        assert mistake is not None
        assert mistake.exit_code == 1
        assert "The same command resumes" in mistake.message
        assert "more" not in mistake.message


def test_names_of_jobs(tmp_path: Path) -> None:
    """Short where that is clear, and without anything that Hydra would need quotes for."""
    (tmp_path / ".swept.json").write_text(json.dumps(["a.weight", "b.weight", "optimizer.lr", "file"]))
    name = job_name(str(tmp_path), ["experiment=demo", "a.weight=1", "b.weight=-2", "optimizer.lr=1e-3"])
    assert name == "a.weight-1_b.weight--2_lr-1e-3"
    names = {job_name(str(tmp_path), [f"file=/x/{char * 300}, [y]"]) for char in "ab"}
    assert len(names) == 2
    assert all(re.fullmatch(r"[\w.+-]{1,140}", name) for name in names)
    assert job_name(str(tmp_path), ["experiment=demo"]) == "job"


def test_which_settings_a_sweep_changes() -> None:
    assert swept_keys(["seed=1,2", "a.b=tag(log,interval(0.1,1))", "c=range(1,5)", "d=3", "e='x,y'"]) == ["seed", "a.b", "c"]
    assert swept_keys(["seed=1,2", "seed=4"]) == []  # the later one holds


def scores(folder: Path, values: dict[tuple[str, str], float | None]) -> Path:
    """A sweep's folder with jobs by learning rate and seed; None failed."""
    for (rate, seed), score in values.items():
        place = folder / f"lr-{rate}_seed-{seed}"
        (place / "checkpoints").mkdir(parents=True)
        (place / "checkpoints" / "last.ckpt").touch()
        record = {
            "status": "failed" if score is None else "finished", "overrides": [f"optimizer.lr={rate}", f"seed={seed}", "experiment=demo"],
            "settings": {"test": False}, "objective": score, "source_validation": {"gtav": score}, "checkpoint": "checkpoints/last.ckpt",
            "seconds": 1.0, "stand_in": False,
        }  # fmt: skip
        (place / "job.json").write_text(json.dumps(record))
    return folder


def test_the_best_setting_is_chosen_by_its_mean_over_the_seeds(tmp_path: Path) -> None:
    """Not by its luckiest seed, nor by the mean of the one seed that did not fail."""
    values = {("0.1", "1"): 0.5, ("0.1", "2"): 0.1, ("0.2", "1"): 0.35, ("0.2", "2"): 0.37, ("0.3", "1"): 0.9, ("0.3", "2"): None}
    result = read_sweep(scores(tmp_path / "sweep", values))
    assert result["swept"] == ["optimizer.lr", "seed"]
    assert result["best"]["settings"] == {"optimizer.lr": "0.2"}
    assert result["best"]["mean"] == pytest.approx(np.mean([0.35, 0.37]))
    assert result["best"]["std"] == pytest.approx(np.std([0.35, 0.37], ddof=1))
    text = as_text(result)
    assert "5 finished, 1 failed" in text
    assert "Best setting: optimizer.lr=0.2 (36.0 ± 1.4; 2 seeds)" in text
    assert "STAND-IN" not in text
    assert "| 0.2 | 36.0 ± 1.4 | 2 |" in as_markdown(result)


@pytest.mark.parametrize(
    ("values", "best", "compared", "note"),
    [
        pytest.param({"a": [0.5, 0.5, 0.5], "b": [0.1, 0.1, 0.1, 0.1]}, "a", 0.5, "all of them have: 1, 2, 3.", id="more seeds"),
        pytest.param({"a": [0.4, 0.4], "b": [0.3, 0.3, 0.9]}, "a", 0.4, "all of them have: 1, 2.", id="a lucky seed more"),
        pytest.param({"a": [0.5, 0.1], "b": [0.9, None]}, "a", 0.3, "optimizer.lr=b, which has no score with seed 2", id="lost"),
        pytest.param({"a": [0.3, 0.3, None], "b": [0.4, 0.4, None]}, "b", 0.4, None, id="all have lost the same"),
        pytest.param({"a": [0.3, None], "b": [None, 0.4]}, None, None, "Not compared: optimizer.lr=a", id="all have lost another"),
    ],
)
def test_settings_are_compared_over_the_seeds_that_they_share(
    tmp_path: Path, values: dict[str, list[float | None]], best: str | None, compared: float | None, note: str | None
) -> None:
    by_seed = {(rate, str(seed)): score for rate, found in values.items() for seed, score in enumerate(found, start=1)}
    result = read_sweep(scores(tmp_path / "sweep", by_seed))
    if best is None:
        assert result["best"] is None
    else:
        assert result["best"]["settings"] == {"optimizer.lr": best}
        assert result["best"]["compared"] == pytest.approx(compared)
    for text in (as_text(result), as_markdown(result)):
        assert (note or "Best setting") in text
    assert bool(result["notes"]) == (note is not None)


def test_settings_without_a_common_seed_are_compared_by_their_means_with_a_note(tmp_path: Path) -> None:
    result = read_sweep(scores(tmp_path / "sweep", {("a", "1"): 0.3, ("a", "2"): 0.5, ("b", "3"): 0.35}))
    assert result["best"]["settings"] == {"optimizer.lr": "a"}
    assert "none is common to all" in as_text(result)


def test_a_folder_without_jobs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found no jobs"):
        read_sweep(tmp_path)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """A function that runs a search of the function 1 - |x - 0.7| and returns the overrides of its jobs."""
    from hydra_plugins.pin_memory_optuna import OptunaSearch

    sampler = OmegaConf.load(config_directory() / "hydra" / "sweeper" / "pin_memory_optuna.yaml")["sampler"]

    def search(
        n_trials: int,
        n_jobs: int = 1,
        fail_below: float = -1.0,
        space: str = "x=interval(0,1)",
        stop_at: int = 99,
        storage: str = f"sqlite:///{tmp_path}/optuna.db",
    ) -> list[list[str]]:
        launched: list[list[str]] = []

        class Launcher:
            def launch(self, job_overrides: list[list[str]], initial_job_idx: int) -> list[Any]:
                assert len(job_overrides) <= n_jobs
                launched.extend(job_overrides)
                if len(launched) >= stop_at:
                    raise KeyboardInterrupt
                values = [float(dict(part.split("=") for part in overrides)["x"]) for overrides in job_overrides]
                return [SimpleNamespace(return_value=math.nan if x < fail_below else 1 - abs(x - 0.7)) for x in values]

        made = OptunaSearch(n_trials, n_jobs, storage, "search", sampler, 304, None)
        monkeypatch.setattr(made, "validate_batch_is_legal", lambda batch: None)
        made.hydra_context = SimpleNamespace(config_loader=None)
        made.launcher = Launcher()
        with suppress(KeyboardInterrupt):
            made.sweep(["fixed=1", space])
        return launched

    return search


@pytest.mark.slow
def test_a_search_finds_the_maximum_and_ends_at_its_number_of_trials(search: Callable[..., list[list[str]]]) -> None:
    jobs = search(24)
    values = [float(job[-1].partition("=")[2]) for job in jobs]
    assert len(jobs) == 24
    assert all(job[0] == "fixed=1" for job in jobs)
    assert min(abs(value - 0.7) for value in values) < 0.03
    assert np.mean(np.abs(np.array(values[-8:]) - 0.7)) < np.mean(np.abs(np.array(values[:8]) - 0.7))  # it learns from the scores
    assert search(24) == []


@pytest.mark.slow
def test_a_search_is_resumed(search: Callable[..., list[list[str]]]) -> None:
    """Other random proposals than at the first start; the trial that was cut off comes first, the failed ones once more."""
    first = search(6, stop_at=4)
    assert len(first) == 4
    second = search(6)
    assert len(second) == 3
    assert second[0] == first[3]
    assert len({tuple(job) for job in first + second}) == 6
    failed = search(10, fail_below=2.0)  # all four fail, and the search ends
    assert len(failed) == 4
    assert search(10) == failed
    assert search(10) == []


def test_a_batch_runs_equal_proposals_once(search: Callable[..., list[list[str]]]) -> None:
    """Two processes must not work in one folder."""
    jobs = search(9, n_jobs=3, space="x=choice(0.1,0.9)")
    assert len(jobs) < 9
    assert {job[-1] for job in jobs} == {"x=0.1", "x=0.9"}


def test_another_search_space_is_reported(search: Callable[..., list[list[str]]]) -> None:
    search(1)
    with pytest.raises(ConfigurationError, match="study_name"):
        search(2, space="x=choice(0.1,0.9)")


def test_optunas_journal_as_storage(search: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    assert len(search(2, storage=storage)) == 2
    assert len(search(3, storage=storage)) == 1


def test_a_search_without_optuna_names_what_to_install(search: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigurationError, match="sweeps"):
        search(1)


def test_what_a_sweep_is_over_names_its_jobs_where_a_command_gives_one_value(tmp_path: Path) -> None:
    """Or the next command's jobs, with another value, would have the folders of this one's."""
    task = ["experiment=demo", "variant=mixture", "optimizer.lr=1,2"]
    sweeper = {"sweep": {"dir": str(tmp_path)}, "sweeper": {"params": {"seed": "1,2", "variant": "erm,mldg"}}, "overrides": {"task": task}}
    summary = SweepSummary()
    summary.on_multirun_start(OmegaConf.create({"hydra": sweeper}))
    summary.end_early()
    assert job_name(str(tmp_path), ["seed=1", "variant=mixture", "optimizer.lr=2"]) == "seed-1_variant-mixture_lr-2"
