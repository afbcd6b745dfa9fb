"""Two processes stop together and go on as if they had not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pin_memory.domains.stand_in_layouts import StandIns
from tests.resumption import TINY, differences, left

ROOT = Path(__file__).parents[1]
CHANGED = [
    "loading.draws_per_epoch=28", "loading.max_val_images=2", "loading.max_test_images=2", "trainer.max_steps=6", "callbacks.last.every=2",
]  # fmt: skip
DDP = ["trainer=ddp", "trainer.devices=2"]


def train(cwd: Path, *arguments: str) -> int:
    """The exit code of a training in `cwd`."""
    command = [sys.executable, "-m", "pin_memory.train", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (cwd / "said.txt").open("a") as said:
        return subprocess.run(command, cwd=cwd, stdout=said, stderr=said, timeout=600, env=environment).returncode


@pytest.mark.slow
def test_two_processes_go_on_with_what_each_of_them_had(tmp_path: Path) -> None:
    """Both are told by a signal, the first one decides; each has running statistics of its own, and noise of its own."""
    StandIns(tmp_path / "sets", images_per_domain=8, seed=1, width=160).prepare()
    given = {setting.partition("=")[0] for setting in CHANGED} | {"paths.output"}
    tiny = [setting for setting in TINY if setting.partition("=")[0] not in given]
    common = [*tiny, *CHANGED, *DDP, f"paths.data={tmp_path / 'sets'}"]
    stop = "+callbacks.disturbance={_target_:tests.resumption.Disturbance,hook:on_train_batch_start,step:1,kind:SIGTERM}"
    assert train(tmp_path, *common, "hydra.run.dir=whole") == 0, (tmp_path / "said.txt").read_text()
    assert train(tmp_path, *common, "hydra.run.dir=part", stop) == 143, (tmp_path / "said.txt").read_text()
    assert train(tmp_path, "resume=part", "~callbacks.disturbance") == 0, (tmp_path / "said.txt").read_text()
    assert "going on from step 2" in (tmp_path / "said.txt").read_text()
    assert differences(left(tmp_path / "whole"), left(tmp_path / "part")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "said.txt", "sets", "whole"]
