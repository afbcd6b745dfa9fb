"""Checkpoints of older versions."""

from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import torch

from pin_memory.runs.checkpoints import RECORD, load_method

OLD_NAMES = {
    "pin_memory.domains.stand_in_layouts.StandIns": "pin_memory.domains.stand_ins.StandIns",
    "pin_memory.inference.TestStatistics": "pin_memory.inference.BatchNormStatistics",
    "pin_memory.meta.DomainSplit": "pin_memory.methods.DomainSplit",
    "pin_memory.methods.schedules.PolynomialDecay": "pin_memory.methods.PolynomialDecay",
}


def with_old_names(settings: Any) -> Any:
    """Settings as 0.1.0 wrote them."""
    if isinstance(settings, dict):
        return {key: with_old_names(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [with_old_names(value) for value in settings]
    return next((old for old, new in OLD_NAMES.items() if settings == new), settings)


def test_names_of_0_1_0_are_understood(untrained_run: Path, tmp_path: Path) -> None:
    content = torch.load(untrained_run / "checkpoints" / "best.ckpt", weights_only=True)
    old = with_old_names(content[RECORD]["config"])
    assert all(name in str(old) for name in OLD_NAMES)
    torch.save(content | {RECORD: content[RECORD] | {"config": old}}, tmp_path / "old.ckpt")
    method, checkpoint = load_method(tmp_path / "old.ckpt", ["tests"])
    assert checkpoint.recorded == content[RECORD]["config"]
    assert str(method.test_statistics) == "running"


@pytest.mark.parametrize("name", OLD_NAMES.values())
def test_the_new_names_exist(name: str) -> None:
    assert hydra.utils.get_class(name)
