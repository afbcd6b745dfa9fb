"""A run on two processes against the run on one, through the command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny_run import TINY

ROOT = Path(__file__).parents[2]


def trained_on(devices: int, folder: Path, *overrides: str) -> tuple[dict[str, Tensor], list[float]]:
    """Of a run on so many devices: weights, memory and masks after five steps on four images of each domain, and the gradients' norms."""
    settings = [
        *("trainer=ddp", f"trainer.devices={devices}", f"loading.batch_size={4 // devices}", "trainer.precision=64-true"),
        *("trainer.max_steps=5", "trainer.val_check_interval=5", "trainer.log_every_n_steps=1", "loading.max_val_images=2"),
        *("network.memory.gumbel=false", "callbacks.best=null", "test=false", "floors=false", "logger=csv", *overrides),
        "+callbacks.comparable={_target_:tests.helpers.agreement.Comparable}",
    ]
    tiny = [setting for setting in TINY if not setting.startswith(("trainer.max_steps", "trainer.val_check", "loading.batch_size"))]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.train", "experiment=demo", *tiny, *settings, f"hydra.run.dir=on_{devices}"],
        cwd=folder, capture_output=True, text=True, timeout=400, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state = torch.load(folder / f"on_{devices}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    with (folder / f"on_{devices}/metrics.csv").open() as file:
        return state, [float(row["grad_norm/total"]) for row in csv.DictReader(file) if row["grad_norm/total"]]


@pytest.mark.reliability
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The whole way, data loading and Lightning included: five steps, the whitening loss from the first on."""
    whitening = [
        *("+whitening=isw", "method.whitening._target_=tests.helpers.agreement.ChannelsFlipped", "method.whitening.warmup_iterations=0"),
        *("method.whitening.images=16", "method.whitening.trials=1"),
    ]
    alone, norms_alone = trained_on(1, tmp_path, *whitening)
    together, norms = trained_on(2, tmp_path, *whitening)
    assert alone.keys() == together.keys()
    assert sum("whitening.mask" in name for name in alone) == 3
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-8, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")
    assert len(norms) == 5
    assert norms == pytest.approx(norms_alone, rel=1e-5)  # as float32 in the metrics
    assert alone["images_seen"] == 5 * 3 * 4


@pytest.mark.reliability
def test_two_processes_that_slurm_starts_make_one_run(tmp_path: Path) -> None:
    """By the variables that `srun --ntasks-per-node=2` sets: ranks, port and rendezvous come from them, no process starts another."""
    callback = f"+callbacks.fingerprints={{_target_:tests.helpers.agreement.Fingerprints,folder:{tmp_path / 'prints'}}}"
    settings = ["trainer=ddp", "trainer.devices=2", "loading.max_val_images=2", "loading.max_test_images=2", "logger=csv", callback]
    job = {"SLURM_JOB_ID": "4321", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, *settings, "hydra.run.dir=run"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | job | {"PYTHONPATH": str(ROOT), "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    first, second = ((tmp_path / "prints" / f"{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert len(first.splitlines()) == 3
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["devices"], len(results["floors"])) == (2, 3)
    assert "Results " in said[0]
    assert "Results " not in said[1]
