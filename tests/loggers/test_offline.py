"""W&B runs of a machine without a login, read back from their files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pin_memory.loggers import log_targets
from tests.helpers.wandb_records import read_offline_run

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

OFFLINE_RUN = """
import sys
from pathlib import Path
import wandb
from pin_memory.loggers import finish_wandb, log_targets, wandb_logger
runs = Path(sys.argv[1])

def log(job, loss, **options):
    logger = wandb_logger(runs / job, group="demo", **options)
    logger.log_metrics({"loss": loss}, step=1)
    return logger.experiment.id

(runs / "0").mkdir(parents=True)
(runs / "0" / "config.yaml").write_text("lr: 0.01\\nnetwork: {channels: [8, 16], memory: null}\\n")
first = log("0", 1.0, tags=["stand-in"])
finish_wandb()
second = log("1", 2.0)  # as in a sweep: each job has a run of its own
third = log("2", 3.0)  # also where the one before was left open
finish_wandb()
assert len({first, second, third}) == 3
assert log("resumed_folder", 4.0, resume=runs / "0") == first
finish_wandb()
assert log("resumed_file", 5.0, resume=runs / "resumed_folder" / "checkpoints" / "last.ckpt") == first
finish_wandb()
(runs / "0" / "checkpoints" / "wandb_id.txt").write_text("../../evil id")
assert log("no_id", 6.0, resume=runs / "0") != first
finish_wandb()

results = {"targets": {"a": {"miou": 0.5, "iou": {"road": 0.5}}}, "mean_miou": 0.5}
(runs / "foreign").mkdir()
foreign = wandb.init(mode="offline", dir=runs / "foreign", settings=wandb.Settings(silent=True))
foreign.log({"loss": 7.0})
log("next_to_it", 8.0)
log_targets(results)
finish_wandb()
finish_wandb()  # there is none of ours
log_targets(results)
assert wandb.run is foreign
foreign.log({"loss": 9.0})
foreign.finish()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of a fresh machine, whose environment names a W&B run that nothing may be mixed into."""
    base = tmp_path_factory.mktemp("offline")
    home, cwd = base / "home", base / "cwd"
    home.mkdir()
    cwd.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_RUN, str(base / "runs")], cwd=cwd,
        env=environment | {"HOME": str(home), "WANDB_RUN_ID": "shared", "WANDB_RESUME": "must"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(cwd.iterdir())
    return base / "runs"


def test_a_fresh_machine_logs_offline_into_the_run_folder_and_keeps_no_code(runs: Path) -> None:
    assert not [*runs.rglob("*.py"), *runs.rglob("*.patch")]
    run = read_offline_run(runs / "0")
    assert (run.project, run.group, run.tags) == ("pin_memory", "demo", ["stand-in"])
    assert (run.history["loss"], run.history["trainer/global_step"]) == ([1.0], [1])


def test_the_resolved_settings_of_the_folder_are_the_runs_configuration(runs: Path) -> None:
    config = read_offline_run(runs / "0").config
    assert config["lr"] == 0.01
    assert config["network"] == {"channels": [8, 16], "memory": None}
    assert "lr" not in read_offline_run(runs / "1").config


def test_runs_do_not_leak_into_each_other(runs: Path) -> None:
    found = [read_offline_run(runs / job) for job in ("0", "1", "2")]
    assert [run.history["loss"] for run in found] == [[1.0], [2.0], [3.0]]
    assert len({run.id for run in found} - {"shared"}) == 3


def test_a_run_that_somebody_else_has_open_is_neither_written_into_nor_ended(runs: Path) -> None:
    foreign, own = read_offline_run(runs / "foreign"), read_offline_run(runs / "next_to_it")
    assert foreign.history["loss"] == [7.0, 9.0]
    assert not [key for key in {**foreign.history, **foreign.summary, **foreign.config} if key.startswith("test/")]
    assert own.history["loss"] == [8.0]
    assert set(own.history["trainer/global_step"]) == {1}
    assert own.summary["test/mean_miou"] == 0.5


def test_the_id_lies_next_to_the_checkpoints_and_a_resumed_run_takes_it_over(runs: Path) -> None:
    assert (runs / "1" / "checkpoints" / "wandb_id.txt").read_text() == f"{read_offline_run(runs / '1').id}\n"
    resumed = read_offline_run(runs / "resumed_file")
    assert resumed.id == read_offline_run(runs / "resumed_folder").id == read_offline_run(runs / "0").id
    assert resumed.history["loss"] == [5.0]


def test_without_a_run_of_wandb_no_table_is_made() -> None:
    log_targets({})
