"""`resume=RUN` and `resume=auto` on the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pin_memory.training.resume import complete_arguments, find
from pin_memory.training.resume.command_line import with_recorded_settings
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.locked import locked_by_another_process
from tests.helpers.tiny_run import TINY

fcntl = pytest.importorskip("fcntl")


STARTED = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS")


def begun(run: Path, *overrides: str, results: bool = False, cwd: Path | None = None, **settings: Any) -> Path:
    """A run folder as a training leaves it, without weights that can be read."""
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    runtime = {"cwd": str(cwd or Path.cwd()), "config_sources": [{"path": "x", "provider": "main"}]}
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": runtime}}))
    config = {"test": True, "trainer": {"max_steps": 10}, "paths": {"data": "data"}} | settings
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if results:
        (run / "results.json").write_text('{"targets": {}}')
    return run


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("PIN_MEMORY_RUNS", *STARTED):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ours(run: object) -> list[str]:
    return [f"hydra.run.dir='{run}'"]


def test_the_settings_of_the_run_are_taken_over(cwd: Path) -> None:
    """The earlier `resume`, of a run that was itself started from a file, is not one of them."""
    begun(cwd / "run", "experiment=demo", "resume=other.ckpt", "seed=3")
    assert with_recorded_settings(["resume=run"]) == ["experiment=demo", "seed=3", "resume=run", *ours("run")]


def test_settings_of_0_1_0_that_are_gone_are_left_out(cwd: Path) -> None:
    """Hydra would refuse them, since there is nothing left that they could set."""
    begun(cwd / "run", "experiment=demo", "loading.draws_per_epoch=4", "method.late_look=true", "seed=3")
    assert with_recorded_settings(["resume=run"]) == ["experiment=demo", "seed=3", "resume=run", *ours("run")]


def test_what_is_given_now_holds(cwd: Path) -> None:
    """In the place of what was given before; what was added has to be added again, and a deletion of it is none at all."""
    begun(cwd / "run", "experiment=demo", "method=erm", "trainer.max_steps=10", "+domain@data.sources.idd=idd", "+x.y=1", "+z=1", "~panels")
    given = ["resume=run", "trainer.max_steps=20", "x.y=2", "~z", "seed=0", "method=mldg", "hydra.verbose=true"]
    assert with_recorded_settings(given) == [
        "experiment=demo", "method=mldg", "trainer.max_steps=20", "+domain@data.sources.idd=idd", "+x.y=2", "~panels",
        "resume=run", "seed=0", "hydra.verbose=true", *ours("run"),
    ]  # fmt: skip


def test_lightnings_name_for_it_means_the_same(cwd: Path) -> None:
    """`ckpt_path=`, of a run folder and of a file."""
    begun(cwd / "run", "experiment=demo")
    assert complete_arguments(["ckpt_path=run", "seed=1"]) == ["experiment=demo", "resume=run", "seed=1", *ours("run")]
    (cwd / "file.ckpt").touch()
    assert with_recorded_settings(["+ckpt_path=file.ckpt", "seed=1"]) == ["resume=file.ckpt", "seed=1"]


def test_what_is_exchanged_takes_two_settings(cwd: Path) -> None:
    """Deleted first, then added; given again it is the same."""
    exchanged = ["~network.backbone", "+network.backbone={_target_:pin_memory.networks.ResNetBackbone}"]
    begun(cwd / "run", *exchanged)
    assert with_recorded_settings(["resume=run"])[:2] == exchanged
    assert with_recorded_settings([*exchanged, "resume=run"])[:3] == [*exchanged, "resume=run"]
    assert with_recorded_settings(["+network.backbone={_target_:other}", "resume=run"])[:2] == [
        exchanged[0], "+network.backbone={_target_:other}",
    ]  # fmt: skip
    begun(cwd / "plain", "x=1", "+y=1")
    assert with_recorded_settings(["~x", "~y", "resume=plain"]) == ["~x", "resume=plain", *ours("plain")]


def test_a_command_line_that_was_completed_stays_so(cwd: Path) -> None:
    """The processes of further devices are started with it, and Lightning's own settings behind it."""
    begun(cwd / "run", "experiment=demo", "+x=1")
    once = with_recorded_settings(["resume=run"])
    again = with_recorded_settings([*once, 'hydra.run.dir="run"', "hydra.job.name=train_ddp_process_1"])
    assert again[:3] == once[:3]
    assert again[-1:] == ours("run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=demo"],
        ["resume=null"],
        ["resume=file.ckpt"],
        ["resume=missing"],
        ["resume=folder"],
        ["resume=run", "hydra.run.dir=elsewhere"],
        ["resume=run", "--help"],
        ["resume=run", "-m", "seed=1,2"],
        ["resume=run", "seed=[1"],
    ],
)
def test_what_starts_a_new_run_or_none_is_left_as_it_is(cwd: Path, arguments: list[str]) -> None:
    """A file, another folder, a sweep, a question, a mistake that Hydra reports."""
    begun(cwd / "run", "experiment=demo")
    (cwd / "file.ckpt").touch()
    (cwd / "folder").mkdir()
    assert with_recorded_settings(arguments) == arguments


@pytest.mark.parametrize("content", [None, "", "a: b", "[1", "!!python/object/apply:os.system [false]"])
def test_a_run_without_settings_is_reported_unless_they_are_given(cwd: Path, content: str | None) -> None:
    """Such as one that was killed while Hydra wrote them."""
    record = begun(cwd / "run", "experiment=demo") / ".hydra" / "overrides.yaml"
    record.unlink() if content is None else record.write_text(content)
    with pytest.raises(ConfigurationError, match=r"overrides\.yaml.*missing or empty"):
        with_recorded_settings(["resume=run"])
    assert with_recorded_settings(["resume=run", "experiment=demo"]) == ["resume=run", "experiment=demo", *ours("run")]


def test_data_are_found_from_another_folder(cwd: Path) -> None:
    """A relative path means the folder in which the run was started."""
    begun(cwd / "a" / "run", "experiment=demo", "paths.data=data", cwd=cwd / "a")
    assert with_recorded_settings(["resume=a/run"])[:2] == ["experiment=demo", f"paths.data='{cwd / 'a' / 'data'}'"]
    assert "paths.data=here" in with_recorded_settings(["resume=a/run", "paths.data=here"])


def test_paths_with_odd_characters(cwd: Path) -> None:
    """Hydra's grammar takes them in quotes."""
    begun(cwd / "it's, (a) run=1", "experiment=demo")
    completed = with_recorded_settings(["resume='it\\'s, (a) run=1'"])
    assert completed[-1] == "hydra.run.dir='it\\'s, (a) run=1'"


def test_auto_finds_the_newest_unfinished_run_of_the_same_settings(cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a finished one, not one of other settings, not a job of a sweep, not one that a process is at work on."""
    runs = cwd / "runs" / "demo"
    for number, (name, overrides, done) in enumerate(
        [
            ("old", ["experiment=demo", "seed=1"], False),
            ("requested", ["seed=1", "experiment=demo", "paths.data=elsewhere", "resume=x.ckpt"], False),
            ("finished", ["experiment=demo", "seed=1"], True),
            ("other", ["experiment=demo", "seed=2"], False),
            ("multirun/x", ["experiment=demo", "seed=1"], False),
        ]
    ):
        begun(runs / name, *overrides, results=done)
        os.utime(runs / name / "checkpoints" / "last.ckpt", (number, number))
    found = with_recorded_settings(["experiment=demo", "seed=1", "resume=auto"])
    assert found[-1:] == ours("runs/demo/requested")
    assert found.count("resume='runs/demo/requested'") == 1
    assert "resuming runs/demo/requested" in capsys.readouterr().out
    assert with_recorded_settings(["resume=auto"])[-1:] == ours("runs/demo/other")  # the newest of any settings
    with locked_by_another_process(runs / "requested"):
        assert with_recorded_settings(["experiment=demo", "seed=1", "resume=auto"])[-1:] == ours("runs/demo/old")


def test_auto_starts_anew_where_there_is_nothing(cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says so; in a sweep it means nothing, as that resumes its jobs by itself."""
    assert with_recorded_settings(["experiment=demo", "resume=auto"]) == ["experiment=demo", "resume=null"]
    assert "starting a new one" in capsys.readouterr().out
    assert with_recorded_settings(["-m", "experiment=demo", "resume=auto"]) == ["-m", "experiment=demo", "resume=null"]
    assert with_recorded_settings(["experiment=nonsense", "resume=auto"]) == ["experiment=nonsense", "resume=null"]


@pytest.mark.parametrize("checkpoints", [True, False])
def test_auto_with_a_folder_looks_nowhere_else(cwd: Path, checkpoints: bool) -> None:
    """For a job whose folder is named: begun there, it is resumed, be it finished or without a checkpoint yet."""
    begun(cwd / "runs" / "demo" / "other", "experiment=demo")
    begun(cwd / "run", "experiment=demo", results=True)
    if not checkpoints:
        (cwd / "run" / "checkpoints" / "last.ckpt").unlink()
    assert with_recorded_settings(["experiment=demo", "resume=auto", "hydra.run.dir=run"])[-1:] == ours("run")
    assert with_recorded_settings(["experiment=demo", "resume=auto", "hydra.run.dir=new"])[-1] == "resume=null"


def test_a_run_that_is_not_evaluated_is_finished_by_its_steps(cwd: Path) -> None:
    """By its last checkpoint."""
    import torch

    run = begun(cwd / "runs" / "demo" / "run", "experiment=demo", "test=false", test=False)
    for step, finished in ((9, False), (10, True)):
        torch.save({"global_step": step}, run / "checkpoints" / "last.ckpt")
        assert (with_recorded_settings(["experiment=demo", "test=false", "resume=auto"])[-1] == "resume=null") == finished


def test_only_checkpoints_of_the_same_settings_are_looked_into(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest first, and none behind the one that is taken."""
    import torch

    given = ["experiment=demo", "test=false"]
    for number, name in enumerate(("older", "requested", "finished", "other")):
        overrides = [*given, "seed=1"] if name == "other" else given
        run = begun(cwd / "runs" / "demo" / name, *overrides, test=False)
        torch.save({"global_step": 10 if name == "finished" else 9}, run / "checkpoints" / "last.ckpt")
        os.utime(run / "checkpoints" / "last.ckpt", (number, number))
    loaded, load = [], find.load_weights_only
    monkeypatch.setattr(find, "load_weights_only", lambda path: loaded.append(path.parents[1].name) or load(path))
    assert with_recorded_settings([*given, "resume=auto"])[-1:] == ours("runs/demo/requested")
    assert loaded == ["finished", "requested"]


@pytest.mark.slow
def test_runs_with_other_yaml_files_are_others(cwd: Path) -> None:
    """The same experiment of two folders is not the same run."""
    for number, name in enumerate(("mine", "yours")):
        run = begun(cwd / "runs" / "demo" / name, "experiment=demo")
        record = {"hydra": {"runtime": {"cwd": str(cwd), "config_sources": [{"path": str(cwd / name), "provider": "command-line"}]}}}
        (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(record))
        os.utime(run / "checkpoints" / "last.ckpt", (number, number))
        (cwd / name).mkdir()
    assert with_recorded_settings(["--config-dir", "mine", "experiment=demo", "resume=auto"])[-1:] == ours("runs/demo/mine")
    assert with_recorded_settings(["--config-dir=yours", "experiment=demo", "resume=auto"])[-1:] == ours("runs/demo/yours")
    assert with_recorded_settings(["experiment=demo", "resume=auto"])[-1] == "resume=null"


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_several_processes_do_not_search_each_for_itself(cwd: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(cwd / "runs" / "demo" / "run", "experiment=demo")
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ConfigurationError, match=rf"2 processes .*{variable}=2.*hydra\.run\.dir="):
        with_recorded_settings(["experiment=demo", "resume=auto"])
    assert with_recorded_settings(["experiment=demo", "resume=auto", "hydra.run.dir=runs/demo/run"])[-1:] == ours("runs/demo/run")
    monkeypatch.setenv(variable, "1")
    assert with_recorded_settings(["experiment=demo", "resume=auto"])[-1:] == ours("runs/demo/run")


def train(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pin_memory.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_resume_is_all_that_has_to_be_typed(trained_run: Path, tmp_path: Path) -> None:
    """The finished run is reported; with more steps it is resumed in its folder, with its settings, and evaluated anew."""
    cwd = tmp_path / "cwd"
    run = cwd / "runs" / "demo" / "tiny"
    shutil.copytree(trained_run, run)
    before = json.loads((run / "results.json").read_text())
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock")}
    done = train(cwd, "resume=runs/demo/tiny")
    assert done.returncode == 0, done.stderr
    assert "is finished: all 3 iterations are made" in done.stdout
    assert files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock")}

    done = train(cwd, "resume=runs/demo/tiny", "trainer.max_steps=4", "floors=false", "logger=csv")
    assert done.returncode == 0, done.stderr
    assert "trainer.max_steps: 3 before, 4 now" in done.stdout + done.stderr
    assert [path.name for path in run.parent.iterdir()] == ["tiny"]
    assert sorted(path.name for path in cwd.iterdir()) == ["runs"]
    recorded = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())
    assert "experiment=demo" in recorded
    assert "trainer.max_steps=4" in recorded
    assert not any(override.startswith(("resume", "trainer.max_steps=3")) for override in recorded)
    assert json.loads((run / "old_results.json").read_text()) == before
    assert json.loads((run / "results.json").read_text())["floors"] is None
    assert len([override for override in recorded if override.partition("=")[0] in {o.partition("=")[0] for o in TINY}]) == len(TINY)

    done = train(cwd, "resume=runs/demo/tiny", "method=erm", "trainer.max_steps=6")
    assert done.returncode == 2
    assert "does not fit" in done.stderr
