"""What the files of resumed, swept and agent-started runs say, and what `wandb sync` makes of them on a server."""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pin_memory.loggers import RUN_ID, finish_wandb, wandb_logger
from pin_memory.loggers import wandb as wandb_module
from pin_memory.loggers.wandb_parts import earlier_parts, next_step
from pin_memory.utils.config import config_directory
from tests.helpers.tiny_run import TINY
from tests.helpers.wandb_records import OfflineRun, read_parts
from tests.helpers.wandb_server import WandbServer

wandb = pytest.importorskip("wandb")

PAGE = Path(__file__).parents[2] / "docs" / "wandb.md"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of W&B are read anew."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb_module._teardown()
    yield
    finish_wandb()
    wandb_module._teardown()


def train(run: Path, *losses: int, resume: Path | None = None, mode: str = "offline") -> str:
    """What a training logs, and the id of its W&B run."""
    logger = wandb_logger(run, mode=mode, resume=resume)
    assert logger is not None
    for loss in losses:
        logger.log_metrics({"loss": loss}, step=loss)
    run_id = str(logger.experiment.id)
    finish_wandb()
    return run_id


def parts(*runs: Path) -> list[OfflineRun]:
    wandb_module._teardown()  # until the files are complete
    return [part for run in runs for part in read_parts(run)]


class TestNextStep:
    """On files written by the test, in W&B's format: LevelDB's blocks of 32 KiB with protocol buffers."""

    @staticmethod
    def write(file: Path, steps: list[int], padding: int = 0) -> Path:
        from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

        data = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
        for step in steps:
            record = Record()
            record.history.step.num = step
            item = record.history.item.add()
            item.key, item.value_json = "text", "x" * padding
            left, first = record.SerializeToString(), True
            while left or first:
                room = 32768 - len(data) % 32768
                if room < 7:
                    data += bytes(room)
                    continue
                part, left = left[: room - 7], left[room - 7 :]
                kind = (1 if first else 4) if not left else (2 if first else 3)
                data, first = data + struct.pack("<IHB", 0, len(part), kind) + part, False
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    @pytest.mark.parametrize(("steps", "padding"), [([], 0), ([0, 1, 2], 0), (list(range(400)), 300), (list(range(5)), 100_000)])
    def test_is_one_more_than_the_last(self, steps: list[int], padding: int, tmp_path: Path) -> None:
        assert next_step([self.write(tmp_path / "run.wandb", steps, padding)]) == len(steps)

    def test_of_several_parts(self, tmp_path: Path) -> None:
        assert (
            next_step([self.write(tmp_path / "a", [0, 1, 2, 3]), self.write(tmp_path / "b", [4, 5]), self.write(tmp_path / "c", [])]) == 6
        )
        assert next_step([]) == 0

    def test_of_a_file_that_a_crash_has_cut_short(self, tmp_path: Path) -> None:
        file = self.write(tmp_path / "run.wandb", list(range(50)), 100)
        file.write_bytes(file.read_bytes()[:-60])
        assert 45 <= next_step([file]) < 50
        file.write_bytes(file.read_bytes() + bytes(5000))
        assert 45 <= next_step([file]) < 50

    def test_the_parts_of_another_run_are_not_read(self, tmp_path: Path) -> None:
        for name in ("offline-run-20260101_000000-abc", "run-20260102_000000-abc-1", "offline-run-20260101_000000-xyz"):
            run_id = "abc" if "abc" in name else "xyz"
            self.write(tmp_path / "wandb" / name / f"run-{run_id}.wandb", [1])
        (tmp_path / "checkpoints").mkdir()
        for resume in (tmp_path, tmp_path / "checkpoints" / "last.ckpt"):
            assert len(earlier_parts(resume, "abc")) == 2


@pytest.mark.slow
class TestResumed:
    def test_in_its_own_folder_the_steps_go_on(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        ids = [train(run, 1, 2, 3), train(run, 4, 5, resume=run), train(run, 6, resume=run)]
        found = parts(run)
        assert len({*ids, *(part.id for part in found)}) == 1
        assert [part.history["_step"] for part in found] == [[0, 1, 2], [3, 4], [5]]
        assert [part.resume for part in found] == [False, True, True]

    def test_from_a_checkpoint_file_in_a_new_folder_the_steps_go_on(self, tmp_path: Path) -> None:
        a, b, c = (tmp_path / name for name in "abc")
        train(a, 1, 2, 3)
        train(b, 4, 5, resume=a / "checkpoints" / "last.ckpt")
        train(c, 6, resume=b / "checkpoints" / "best.ckpt")
        assert [part.history["_step"] for part in parts(a, b, c)] == [[0, 1, 2], [3, 4], [5]]

    def test_a_new_run_says_nothing_of_continuing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even where the environment asks for it."""
        monkeypatch.setenv("WANDB_RESUME", "must")
        monkeypatch.setenv("WANDB_RUN_ID", "shared")
        train(tmp_path, 1)
        (part,) = parts(tmp_path)
        assert not part.resume
        assert part.id != "shared"

    @pytest.mark.parametrize("calls", [1, 2])
    def test_synced_parts_are_one_run_with_every_row(self, calls: int, tmp_path: Path) -> None:
        a, b = tmp_path / "a", tmp_path / "b"
        run_id = train(a, 1, 2, 3)
        train(b, 4, 5, resume=a / "checkpoints" / "last.ckpt")
        with WandbServer() as server:
            parts(a, b)
            sync(server, tmp_path, *([[a], [b]] if calls == 2 else [[b, a]]))
            assert [row["loss"] for row in server.history(run_id)] == [1, 2, 3, 4, 5]
            assert [row["_step"] for row in server.history(run_id)] == [0, 1, 2, 3, 4]

    def test_what_waits_for_its_upload_is_continued_offline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Or the server would begin the run with the second part, and the first would replace it later."""
        run = tmp_path / "run"
        run_id = train(run, 1, 2, 3)
        with WandbServer() as server:
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            wandb_module._teardown()
            train(run, 4, 5, resume=run, mode="online")
            assert "not uploaded" in caplog.text
            assert not server.runs
            parts(run)
            sync(server, tmp_path, [run])
            train(run, 6, resume=run, mode="online")
            assert [row["loss"] for row in server.history(run_id)] == [1, 2, 3, 4, 5, 6]


def sync(server: WandbServer, home: Path, *calls: list[Path]) -> None:
    """Call `wandb sync` as the documents say, for the offline parts of run folders."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | server.environment
    for runs in calls:
        folders = [str(folder) for run in runs for folder in run.glob("wandb/offline-run-*")]
        command = [sys.executable, "-m", "wandb", "sync", *folders]
        done = subprocess.run(command, env=environment | {"HOME": str(home)}, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
class TestAgent:
    """Variables as `wandb agent` sets them for each run."""

    @pytest.fixture(autouse=True)
    def agent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"WANDB_SWEEP_ID": "sweep9", "WANDB_RUN_ID": "run7", "WANDB_ENTITY": "me", "WANDB_PROJECT": "theirs"}.items():
            monkeypatch.setenv(name, value)
        values = tmp_path / "config-run7.yaml"
        values.write_text("wandb_version: 1\noptimizer.lr:\n  value: 0.5\n")
        monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(values))

    def test_the_run_is_the_one_that_the_agent_has_made(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.yaml").write_text("optimizer: {lr: 0.5}\nseed: 3\n")
        train(run, 1, 2)
        (part,) = parts(run)
        assert (part.id, part.sweep_id, part.project, part.entity) == ("run7", "sweep9", "theirs", "me")
        assert (run / "checkpoints" / RUN_ID).read_text() == "run7\n"
        assert part.config["optimizer"] == {"lr": 0.5}
        assert part.config["optimizer.lr"] == 0.5
        assert part.history["loss"] == [1, 2]

    def test_online_the_server_is_told_the_sweep(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with WandbServer() as server:
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            assert train(tmp_path / "run", 1, mode="online") == "run7"
            assert server.runs["run7"]["sweep"] == "sweep9"

    @pytest.mark.parametrize("behaviour", ["refuses", "fails"])
    def test_where_the_server_fails_the_offline_run_is_still_the_agents(
        self, behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wandb_module, "_INIT_SECONDS", 3.0)
        with WandbServer(behaviour) as server:
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            train(tmp_path / "run", 1, mode="online")
        assert {(part.id, part.sweep_id) for part in parts(tmp_path / "run") if part.history} == {("run7", "sweep9")}

    def test_a_multirun_in_an_agent_has_runs_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wandb_module, "is_sweep", lambda: True)
        ids = [train(tmp_path / job, 1) for job in ("0", "1")]
        found = parts(tmp_path / "0", tmp_path / "1")
        assert len({*ids, "run7"}) == 3
        assert [(part.sweep_id, part.project) for part in found] == [("", "pin_memory")] * 2

    @pytest.mark.parametrize("given", ["run7", "another"])
    def test_a_resumption_by_an_agent_continues_its_own_run_alone(
        self, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = tmp_path / "run"
        train(run, 1, 2)
        monkeypatch.setenv("WANDB_RUN_ID", given)
        wandb_module._teardown()  # as in the next process
        train(run, 3, resume=run)
        first, second = sorted(parts(run), key=lambda part: part.history["loss"])
        assert (first.id, second.id) == ("run7", given)
        assert (second.history["_step"], second.resume) == (([2], True) if given == "run7" else ([0], False))


@pytest.mark.slow
def test_wandb_agent_trains_what_the_server_proposes(tmp_path: Path) -> None:
    """With the documented sweep file, whose runs are made tiny."""
    tiny = "".join(f"  - {override}\n" for override in [*TINY, "hydra.run.dir=run"])
    with WandbServer() as server:
        server.sweep = documented_sweep().replace("  - test=false", f"{tiny}  - test=false")
        server.proposals = {"run7": {"optimizer.lr": 0.02, "seed": 3}}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | server.environment
        environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = [sys.executable, "-m", "wandb", "agent", "--count", "1", "me/theirs/sweep9"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        assert set(server.runs) == {"run7"}, done.stderr
        assert (server.runs["run7"]["sweep"], server.runs["run7"]["project"]) == ("sweep9", "theirs")
        assert [row["val/miou"] for row in server.history("run7") if "val/miou" in row]
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert (config.optimizer.lr, config.seed) == (0.02, 3)


def documented_sweep() -> str:
    """The text of the sweep file."""
    return PAGE.read_text(encoding="utf-8").split("# sweep.yaml\n")[1].split("```")[0]


def test_the_documented_sweep_file_gives_settings_that_compose() -> None:
    """Through W&B's own making of the command line."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep: Any = OmegaConf.to_container(OmegaConf.create(documented_sweep()), resolve=False)
    values = {name: {"value": parameter["values"][0]} for name, parameter in sweep["parameters"].items()}
    made = create_sweep_command_args({"args": values})
    words = {"${program}": [sweep["program"]], "${args_no_hyphens}": made["args_no_hyphens"]}
    command = [word for part in create_sweep_command(sweep["command"]) for word in words.get(part, [part])]
    assert command[:3] == ["python", "-m", "pin_memory.train"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=command[3:])
    assert all(OmegaConf.select(cfg, name) == value["value"] for name, value in values.items())
    assert sweep["metric"] == {"name": "val/miou", "goal": "maximize"}
