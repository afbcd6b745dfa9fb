"""Parts of a training run that need no training."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pin_memory.callbacks import IterationNames, StepSeeds
from pin_memory.runs import build
from pin_memory.runs.results import Results
from pin_memory.training import run
from pin_memory.training.resume.folder import Resumption, run_folder
from pin_memory.training.trainer import build_trainer
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import OutputError


def composed(*overrides: str) -> DictConfig:
    """The configuration of a small run."""
    small = ["network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null", "network.channels=16", "trainer.accelerator=cpu"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", overrides=["experiment=multi_source_gs", *small, "paths.run=unused", "paths.data=unused", *overrides])


def test_checking_a_method_leaves_the_log_level_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that is not the first one, too."""
    cfg, logger = composed("logger=csv"), logging.getLogger("pin_memory")
    monkeypatch.setattr(run, "is_first", lambda: False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    run._checked_method(cfg, build.build_data(cfg), build_trainer(cfg, [], []), build.build_without_weights(cfg))
    assert logger.level == logging.INFO


def test_a_training_without_any_checkpoint_is_evaluated_as_it_ended(tmp_path: Path) -> None:
    """`callbacks.last=null`, and no validation: the scores of hours must not be lost over it."""
    trainer: Any = SimpleNamespace(callback_metrics={}, global_step=3)
    method: Any = None  # its weights stay
    expected = {"checkpoint": None, "selection": "last (step 3)", "source_validation": {}}
    assert run._select(method, trainer, tmp_path, "best") == expected


def test_what_was_left_out_goes_into_the_results(tmp_path: Path) -> None:
    """With both rules, as a file that is written and read: a training of hours must not fail at its very end."""
    cfg = composed("method.on_non_finite=skip", "loading.on_bad_sample=skip")
    method, data = build.build_without_weights(cfg), build.build_data(cfg)
    method.finite.skipped["steps"] = 2
    data.sources["gtav"].bad_samples.load_state_dict({"names": ["00001"], "draws": 3})
    left_out = run._left_out(cfg, method, data)
    assert left_out == {"skipped": {"steps": 2, "memory_writes": 0}, "bad_samples": {"gtav": {"samples": ["00001"], "draws": 3}}}
    Results(targets={}, **left_out).write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json").to_json() == {"targets": {}, **left_out}


def test_all_callbacks_are_those_of_the_settings(caplog: pytest.LogCaptureFixture) -> None:
    """But for the record of the run; that one is left out which a resumption needs is reported."""
    cfg = composed()
    kinds = [type(callback) for callback in run._callbacks(cfg, {}, build.build_data(cfg))]
    assert kinds[0] is StepSeeds  # others may draw
    assert IterationNames in kinds
    assert not caplog.records
    run._callbacks(composed("~callbacks.seeds", "~callbacks.last"), {}, build.build_data(cfg))
    assert "callbacks.seeds is left out" in caplog.text
    assert "callbacks.last is left out: the run saves no last.ckpt, so it cannot be resumed" in caplog.text


def test_the_run_folder_of_another_run_is_not_taken(tmp_path: Path) -> None:
    """Not even one that was made in the same second."""
    cfg = composed(f"paths.run={tmp_path / 'run'}")
    with run_folder(cfg, Resumption(), 0):
        assert (tmp_path / "run" / "provenance.json").is_file()
    with pytest.raises(OutputError, match="already holds a run"), run_folder(cfg, Resumption(), 0):
        pass
