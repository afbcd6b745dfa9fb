"""`dry_run=true`: all checks and two iterations, a plan, and nothing left behind."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from pin_memory.runs import build, checkpoints
from pin_memory.training.planning import iterations
from pin_memory.training.planning_words import words
from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from tests.helpers.tiny_run import TINY


def command(cwd: Path, *overrides: str, first: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`train experiment=demo dry_run=true` as a user would type it; `first` stands before the settings."""
    arguments = [sys.executable, "-m", "pin_memory.train", *first, "experiment=demo", *TINY, "dry_run=true", *overrides]
    return subprocess.run(
        arguments, cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ | {"WANDB_MODE": "offline"}
    )  # fmt: skip


@pytest.fixture
def data(trained_run: Path) -> Path:
    """The stand-ins of the tiny run."""
    return trained_run.parents[1] / "stand_ins"


@pytest.mark.parametrize("method", ["pin_the_memory", "erm"])
def test_the_plan_is_printed_and_nothing_is_left(data: Path, tmp_path: Path, method: str) -> None:
    """Exit code 0, the numbers of the run, and not even an empty folder; data are read where they are."""
    done = command(tmp_path, f"method={method}", f"paths.data={data}", "trainer.max_steps=50", "loading.draws_per_epoch=20")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    rows = dict(re.findall(r"^  (\w+) {2,}(.*)$", done.stdout, re.MULTILINE))
    training = {name: len(domain.dataset("train")) for name, domain in build.build_data(composed(data, tmp_path)).sources.items()}
    assert rows["sources"] == ", ".join(f"{name} {number}" for name, number in training.items()) + " training images"
    assert rows["targets"] == "cityscapes 2, bdd100k 2, mapillary 2 test images"
    assert rows["batch"] == "2 images of each of 3 sources on 1 device(s): 6 images an iteration"
    assert rows["method"].startswith(f"{method}, deeplab_v3plus_resnet18, 32-true, cpu")
    assert rows["iterations"] == "50, 5.0 epochs of 10"
    assert rows["validation"] == "25 times gtav 1, synthia 1, idd 1 images"
    assert ("initialising the memory" in rows["duration"]) == (method == "pin_the_memory")
    assert "divergence" in rows["losses"] if method == "pin_the_memory" else "total" in rows["losses"]
    for part in ("training", "validation", "test", "floors"):
        assert part in rows["duration"]
    assert 300 < float(re.match(r"([\d,]+) MiB resident", rows["memory"])[1].replace(",", "")) < 8000  # type: ignore[index]
    assert "runs/demo" in rows["written"]
    assert "wandb" not in done.stdout + done.stderr


def composed(data: Path, folder: Path, *overrides: str) -> Any:
    """The configuration of a dry run of the tiny demo."""
    places = [f"paths.data={data}", f"paths.run={folder}", "paths.output=unused", "dry_run=true"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", overrides=["experiment=demo", *TINY, *places, *overrides])


def test_the_numbers_are_those_of_the_run(data: Path, tmp_path: Path, trained_run: Path) -> None:
    """Parameters, size of a checkpoint, what is left after a resumption; no folder is made."""
    checkpoint = trained_run / "checkpoints" / "last.ckpt"
    options = ["trainer.max_steps=9", "trainer.val_check_interval=2", f"resume={checkpoint}"]
    plan = train(composed(data, tmp_path / "run", *options), {"network": "small"})["dry_run"]
    network = checkpoints.load_method(checkpoint).method.network
    assert plan["parameters"] == plan["trainable"] == sum(parameter.numel() for parameter in network.parameters())
    assert plan["checkpoint_bytes"] == pytest.approx(checkpoint.stat().st_size, rel=0.05)
    assert (plan["iterations"], plan["done"], plan["validations"]) == (9, 3, 4 - 1)
    seconds = plan["seconds"]
    assert seconds["step"] > 0
    assert seconds["loading"] > 0
    assert seconds["iteration"] == seconds["step"] + seconds["loading"]  # nothing is loaded meanwhile without processes for it
    assert seconds["training"] == pytest.approx(6 * seconds["iteration"])
    assert seconds["initialisation"] == 0
    assert plan["losses"]["loss/inner"] > 0
    assert not (tmp_path / "run").exists()


def test_whitening_is_planned_with_one_batch(data: Path, tmp_path: Path) -> None:
    """Covariances are chosen from a batch in place of hundreds of images."""
    options = ["method=isw", "method.whitening.warmup_epochs=0", "test=false", "logger=csv"]
    plan = train(composed(data, tmp_path / "run", *options), {})["dry_run"]
    assert plan["targets"] == {}
    assert "whitening" in words(plan)


PLAN: dict[str, Any] = {
    "name": "demo", "method": "erm", "network": "r50", "precision": "bf16-mixed", "device": "cuda:0", "sources": {"a": 2975, "b": 10},
    "validated": {"a": 500}, "targets": {}, "batch_sizes": {"a": 4, "b": 4}, "devices": 2, "images_an_iteration": 16,
    "parameters": 10, "trainable": 8,
    "peak_bytes": 3 * 2**30, "checkpoint_bytes": 2**29, "free_bytes": 2**30, "iterations": 100, "done": 20, "iterations_an_epoch": 40,
    "validations": 2, "losses": {"loss/total": 1.234}, "loading_processes": 4, "run": "runs/x",
    "seconds": {
        "step": 1.0, "loading": 6.0, "iteration": 1.5, "training": 120.0, "initialisation": 0.0, "validation": 60.0,
        "test": 0.0, "floors": 0.0,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "expected"),
    [(100, -1, 100), (100, None, 100), (100, 2, 20), (15, 2, 15), (-1, 2, 20), (-1, -1, None), (-1, None, 10_000), (-1, 0, 0)],
)
def test_a_run_ends_at_the_first_of_its_limits(max_steps: int, max_epochs: int | None, expected: int | None) -> None:
    """Ten iterations an epoch."""
    assert iterations(max_steps, max_epochs, 10) == expected


@pytest.mark.parametrize(
    ("epochs", "expected"), [("-1", "until it is stopped"), ("null", "4000, 1000.0 epochs of 4"), ("5", "20, 5.0 epochs")]
)
def test_length_without_a_number_of_steps(data: Path, tmp_path: Path, epochs: str, expected: str) -> None:
    """The Trainer's own rule for limits that are not given; and domains that have batches of their own."""
    options = ["trainer.max_steps=-1", f"trainer.max_epochs={epochs}", "schedule=exponential", "schedule.horizon=100", "method=erm"]
    loading = "{_target_: pin_memory.domains.Loading, batch_size: 3, num_workers: 0, draws_per_epoch: 12, max_val_images: 1}"
    options += ["test=false", "logger=csv", "loading.draws_per_epoch=4", f"data.sources.idd.loading={loading}"]
    plan = train(composed(data, tmp_path / "run", *options), {})["dry_run"]
    assert plan["batch_sizes"] == {"gtav": 2, "synthia": 2, "idd": 3}
    assert plan["images_an_iteration"] == 7
    text = words(plan)
    assert f"gtav 2, synthia 2, idd 3 images on {plan['devices']} device(s): 7 images" in text
    assert expected in text
    assert ("without an end" in text) == (plan["iterations"] is None) == (epochs == "-1")


def test_words_say_what_limits_a_run() -> None:
    """The loading, the disk; parts without duration are left out."""
    text = words(PLAN)
    for part in (
        "3,072 MiB on the GPU", "loading is the bottleneck: raise loading.num_workers", "512 MiB each", "too little", "20 of them are made",
        "about 3 min 00 s: training 2 min 00 s, validation 1 min 00 s", "not tested", "2.5 epochs of 40", "total 1.23", "10 (8 trained)",
    ):  # fmt: skip
        assert part in text
    quick = words(PLAN | {"loading_processes": 0, "free_bytes": 2**40, "validations": 0, "done": 0})
    for part in ("bottleneck", "too little", "are made"):
        assert part not in quick
    assert "none before the end" in quick


def test_a_sweep_is_not_planned(data: Path, tmp_path: Path) -> None:
    """One run at a time; the message says how."""
    done = command(tmp_path, "seed=1", f"paths.data={data}", first=("-m",))
    assert done.returncode == 2
    assert "leave out -m" in done.stderr
