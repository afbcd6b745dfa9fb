"""Checkpoints of older versions."""

import re
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import torch
import torchvision
import yaml
from lightning.pytorch import LightningModule, Trainer

from pin_memory.callbacks.run_record import RECORD, RunRecord
from pin_memory.runs.build import build_data
from pin_memory.runs.checkpoints import load_method
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.old_settings import current_settings
from pin_memory.utils.labels import CITYSCAPES

OLD_NAMES = {
    "pin_memory.domains.stand_in_layouts.StandIns": "pin_memory.domains.stand_ins.StandIns",
    "pin_memory.inference.TestStatistics": "pin_memory.inference.BatchNormStatistics",
    "pin_memory.meta.DomainSplit": "pin_memory.methods.DomainSplit",
    "pin_memory.methods.schedules.ExponentialDecay": "pin_memory.methods.ExponentialDecay",
    "pin_memory.methods.schedules.PolynomialDecay": "pin_memory.methods.PolynomialDecay",
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """What 0.1.0 wrote into a checkpoint."""
    content = yaml.safe_load((Path(__file__).parent / "recorded_0_1_0.yaml").read_text())
    assert isinstance(content, dict)
    return content


def test_a_checkpoint_of_0_1_0_is_loaded(recorded: dict[str, Any], tmp_path: Path) -> None:
    state = {name: torch.full(shape, 2.0) for name, shape in recorded.pop("tensors").items()}
    for name, value in torchvision.models.resnet18().state_dict().items():
        if not name.startswith("fc."):
            renamed = re.sub(r"^conv1", "stem.0", re.sub(r"^bn1", "stem.1", name.replace("layer", "stage")))
            state[f"network.backbone.{renamed}"] = value
    space = {"names": list(CITYSCAPES.names), "palette": CITYSCAPES.palette.tolist()}
    torch.save({"state_dict": state, "global_step": 4, RECORD: recorded | {"label_space": space}}, tmp_path / "last.ckpt")
    method, checkpoint = load_method(tmp_path / "last.ckpt")
    assert (method.name, checkpoint.step, str(method.protocol), str(method.test_statistics)) == ("pin_the_memory", 4, "whole@1", "running")
    assert method.network.require_memory().items.unique().tolist() == [2.0]
    assert not method.network.training
    data = build_data(checkpoint.cfg)
    assert (data.source_names, data.target_names, data.uses_stand_ins) == (["gtav", "synthia"], ["cityscapes"], True)


def test_a_checkpoint_of_0_1_0_loses_the_states_of_its_loaders_when_training_resumes() -> None:
    """Loaders are endless now, and Lightning refuses states that no loader takes."""
    loops = {"fit_loop": {"state_dict": {"combined_loader": [{"epoch": 0, "batches": 4}] * 3}, "epoch_progress": {}}}
    record = RunRecord({})
    record.on_load_checkpoint(Trainer(logger=False), LightningModule(), {"loops": loops, RECORD: {"source_validation": {"gtav": 0.5}}})
    assert loops == {"fit_loop": {"state_dict": {}, "epoch_progress": {}}}
    assert record.earlier_scores == {"gtav": 0.5}
    record.on_load_checkpoint(Trainer(logger=False), LightningModule(), {})  # one that is only evaluated


def test_settings_of_a_run_of_0_1_0_are_compared_in_the_words_of_today(recorded: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(yaml.safe_dump(recorded["config"]))
    settings = RunFolder(tmp_path).settings
    assert settings["split._target_"] == "pin_memory.methods.DomainSplit"
    assert not {"method.late_look", "loading.draws_per_epoch"} & settings.keys()
    assert settings["loading.batch_size"] == 2


def test_settings_of_a_users_own_class_are_left_as_they_are() -> None:
    own = {"_target_": "mine.Method", "late_look": True, "parts": [{"_target_": "pin_memory.methods.Whitening", "warmup_epochs": 5}]}
    assert current_settings(own) == {"_target_": "mine.Method", "late_look": True, "parts": [{"_target_": "pin_memory.methods.Whitening"}]}


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_names_of_0_1_0_have_a_name_today(old: str, new: str) -> None:
    assert current_settings({"_target_": old}) == {"_target_": new}
    assert hydra.utils.get_class(new)
