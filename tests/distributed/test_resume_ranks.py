"""Two processes stop together and resume together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pin_memory.domains.stand_ins.writers import StandIns
from tests.helpers.resumption import TINY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHANGED = [
    "loading.max_val_images=2", "loading.max_test_images=2", "trainer.max_steps=6", "callbacks.last.every=2",
]  # fmt: skip
DDP = ["trainer=ddp", "trainer.devices=2"]


def train(cwd: Path, *arguments: str) -> int:
    """The exit code of a training in `cwd`."""
    command = [sys.executable, "-m", "pin_memory.train", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (cwd / "said.txt").open("a") as said:
        return subprocess.run(command, cwd=cwd, stdout=said, stderr=said, timeout=600, env=environment).returncode


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The settings of a tiny training in two processes, and its data."""
    sets = tmp_path_factory.mktemp("data") / "sets"
    StandIns(sets, images_per_domain=8, seed=1, width=160).prepare()
    given = {setting.partition("=")[0] for setting in CHANGED} | {"paths.output"}
    return [*(setting for setting in TINY if setting.partition("=")[0] not in given), *CHANGED, *DDP, f"paths.data={sets}"]


def test_two_processes_stop_together_and_resume(common: list[str], tmp_path: Path) -> None:
    """A signal reaches the second one alone, and both stop; resumed, they make the remaining steps."""
    stop = "+callbacks.disturbance={_target_:tests.helpers.resumption.Disturbance,hook:on_train_batch_start,step:1,kind:SIGTERM,rank:1}"
    assert train(tmp_path, *common, "hydra.run.dir=part", stop) == 143, (tmp_path / "said.txt").read_text()
    assert train(tmp_path, "resume=part", "~callbacks.disturbance", "trust=[tests]") == 0, (tmp_path / "said.txt").read_text()
    said = (tmp_path / "said.txt").read_text()
    assert "resumed from step 2" in said
    assert "step 6/6" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "said.txt"]


def test_a_checkpoint_that_cannot_be_written_ends_both_processes(common: list[str], tmp_path: Path) -> None:
    """With the message of the first one, once; the other does not wait for it in a barrier."""
    (tmp_path / "file").touch()
    assert train(tmp_path, *common, "hydra.run.dir=run", f"callbacks.last.directory={tmp_path / 'file'}") == 2
    said = (tmp_path / "said.txt").read_text()
    assert said.count("Cannot write the checkpoint") == 1, said
    assert "Traceback" not in said
