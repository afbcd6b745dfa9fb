"""`dry_run=true`: all checks and two iterations, a plan, and nothing left behind."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import OmegaConf

from pin_memory.runs import build, checkpoints
from pin_memory.training import checks
from pin_memory.training.checks import check_loggers
from pin_memory.training.dry_run import DryRunProbe, as_text, plan_of
from pin_memory.training.resume import complete_arguments
from pin_memory.training.run import train
from pin_memory.utils import devices
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError, OutputError
from tests.helpers.tiny_run import TINY


@pytest.mark.slow
def test_the_plan_is_printed_and_nothing_is_left(data: Path, tmp_path: Path) -> None:
    """Exit code 0, the numbers of the run, and not even an empty folder; data are read where they are."""
    arguments = ["experiment=demo", *TINY, "dry_run=true", f"paths.data={data}", "trainer.max_steps=50"]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.train", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"WANDB_MODE": "offline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    rows = dict(re.findall(r"^  (\w+) {2,}(.*)$", done.stdout, re.MULTILINE))
    training = {name: len(domain.dataset("train")) for name, domain in build.build_data(composed(data, tmp_path)).sources.items()}
    assert rows["sources"] == ", ".join(f"{name} {number}" for name, number in training.items()) + " training images"
    assert rows["targets"] == "cityscapes 2, bdd100k 2, mapillary 2 test images"
    assert rows["batch"] == "2 images of each of 3 sources on 1 device(s): 6 images an iteration"
    assert rows["method"].startswith("pin_the_memory, deeplab_v3plus_resnet18, 32-true, cpu")
    assert rows["iterations"] == "50"
    assert rows["validation"] == "25 times gtav 1, synthia 1, idd 1 images"
    assert "divergence" in rows["losses"]
    assert rows["duration"].startswith("about ")
    assert 300 < float(re.match(r"([\d,]+) MiB resident", rows["memory"])[1].replace(",", "")) < 8000  # type: ignore[index]
    assert "runs/demo" in rows["folder"]
    assert "wandb" not in done.stdout + done.stderr


def composed(data: Path, folder: Path, *overrides: str) -> Any:
    """The configuration of a dry run of the tiny demo."""
    places = [f"paths.data={data}", f"paths.run={folder}", "paths.output=unused", "dry_run=true"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", overrides=["experiment=demo", *TINY, *places, *overrides])


def test_the_numbers_are_those_of_the_run(data: Path, tmp_path: Path, trained_run: Path) -> None:
    """Parameters, and what is left after a resumption; no folder is made."""
    checkpoint = trained_run / "checkpoints" / "last.ckpt"
    options = ["trainer.max_steps=9", "trainer.val_check_interval=2", f"resume={checkpoint}"]
    plan = train(composed(data, tmp_path / "run", *options), {"network": "small"})["dry_run"]
    network = checkpoints.load_method(checkpoint).method.network
    assert plan["parameters"] == plan["trained"] == sum(parameter.numel() for parameter in network.parameters())
    assert (plan["iterations"], plan["done"], plan["validations"]) == (9, 3, 4 - 1)
    assert plan["iteration_seconds"] > 0
    assert plan["seconds"] == pytest.approx(6 * plan["iteration_seconds"])
    assert plan["losses"]["loss/inner"] > 0
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_whitening_is_planned_with_one_batch(data: Path, tmp_path: Path) -> None:
    """Covariances are chosen from a batch in place of hundreds of images."""
    options = ["method=isw", "method.whitening.warmup_iterations=0", "test=false", "logger=csv"]
    plan = train(composed(data, tmp_path / "run", *options), {})["dry_run"]
    assert plan["targets"] == {}
    assert "whitening" in as_text(plan)


def test_a_run_without_an_end_and_domains_with_batches_of_their_own(data: Path, tmp_path: Path) -> None:
    loading = "{_target_: pin_memory.domains.Loading, batch_size: 3, num_workers: 0, max_val_images: 1}"
    options = ["trainer.max_steps=-1", "schedule.horizon=100", "method=erm", "test=false", f"data.sources.idd.loading={loading}"]
    cfg = composed(data, tmp_path / "run", *options)
    plan = plan_of(cfg, {}, build.build_data(cfg), build.build_without_weights(cfg), DryRunProbe(), done=0)
    assert plan["batch_sizes"] == {"gtav": 2, "synthia": 2, "idd": 3}
    text = as_text(plan | {"devices": 2, "device": "cpu"})
    assert "gtav 2, synthia 2, idd 3 images on 2 device(s): 14 images" in text
    assert "until it is stopped" in text
    assert "without an end" in text


PLAN: dict[str, Any] = {
    "name": "demo", "method": "erm", "network": "r50", "precision": "bf16-mixed", "device": "cuda:0", "sources": {"a": 2975, "b": 10},
    "validated": {"a": 500}, "targets": {}, "batch_sizes": {"a": 4, "b": 4}, "devices": 2, "parameters": 10, "trained": 8,
    "peak_bytes": 3 * 2**30, "iterations": 100, "done": 20, "validations": 2, "losses": {"loss/total": 1.234}, "run": "runs/x",
    "iteration_seconds": 1.5, "seconds": 120.0,
}  # fmt: skip


def test_the_text_of_a_plan() -> None:
    assert "precision   emulated, slow\n" in as_text(PLAN | {"slow_precision": "emulated, slow"}) + "\n"
    text = as_text(PLAN)
    for part in (
        "a 2,975, b 10 training images", "3,072 MiB on the GPU", "100; 20 of them are made", "1.50 s", "about 2 min 00 s", "not tested",
        "total 1.23", "10 (8 trained)", "4 images of each of 2 sources on 2 device(s): 16 images",
    ):  # fmt: skip
        assert part in text
    other = as_text(PLAN | {"validations": 0, "done": 0, "peak_bytes": None})
    assert "are made" not in other
    assert "none before the end" in other
    assert "not measured" in other


def test_a_system_without_the_module_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: there is no peak of a CPU, and none that could be forgotten."""
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(devices, "_PROCESS", tmp_path / "proc")
    devices.forget_peak(torch.device("cpu"))
    assert devices.peak_bytes(torch.device("cpu")) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets the peak of a process")
def test_the_peak_begins_anew() -> None:
    """What was released before does not count; in a process of its own, as one of many tests holds memory that it gives back late."""
    code = """
import torch
from pin_memory.utils import devices
device = torch.device("cpu")
large = torch.ones(60_000_000)
before = devices.peak_bytes(device)
del large
devices.forget_peak(device)
print(before - devices.peak_bytes(device))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert int(done.stdout) > 200e6, done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+logger.mine._target_=nowhere.Logger", "nowhere.Logger"),
        ("logger.csv.path=/dev/null/metrics.csv", "/dev/null is no folder"),
        ("logger.wandb.mode=offlin", "offlin"),
        ("+callbacks.mine._target_=nowhere.Callback", "nowhere.Callback"),
        ("callbacks.memory_trace.every=0", "every=0"),
    ],
)
def test_mistakes_of_loggers_and_callbacks_are_found(data: Path, tmp_path: Path, override: str, message: str) -> None:
    """Before an iteration is made, and without a run of W&B."""
    with pytest.raises((ConfigurationError, OutputError, InstantiationException), match=re.escape(message)):
        train(composed(data, tmp_path / "run", override), {})
    assert not (tmp_path / "run").exists()


def never(**settings: object) -> None:
    """A logger that must not be made early."""
    raise AssertionError(settings)


def test_a_logger_of_the_users_is_looked_for_and_not_built_early(tmp_path: Path) -> None:
    """Some begin a run as soon as they are made."""
    node = {"_target_": f"{__name__}.never", "address": "somewhere"}
    check_loggers(OmegaConf.create({"logger": {"mine": node, "off": None}, "paths": {"run": str(tmp_path)}}))


def test_a_sweep_of_plans_is_refused_before_a_folder_is_made() -> None:
    with pytest.raises(ConfigurationError, match="leave out -m"):
        complete_arguments(["-m", "experiment=demo", "dry_run=true", "seed=1,2"])
    with pytest.raises(ConfigurationError, match="leave out -m"):
        complete_arguments(["sweep=leave_one_out", "experiment=sites", "dry_run=TRUE"])
    assert complete_arguments(["experiment=demo", "dry_run=true"]) == ["experiment=demo", "dry_run=true"]
    assert complete_arguments(["-m", "dry_run=false", "seed=1,2"]) == ["-m", "dry_run=false", "seed=1,2"]


def test_a_sweep_is_not_planned(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run at a time; the message says how."""
    monkeypatch.setattr(checks.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(checks.HydraConfig, "get", lambda: SimpleNamespace(mode=RunMode.MULTIRUN))
    with pytest.raises(ConfigurationError, match="leave out -m"):
        checks.check_settings(composed(data, tmp_path))
