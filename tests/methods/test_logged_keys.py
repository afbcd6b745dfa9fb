"""What the methods log is what the table of keys says, no key more and none less."""

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from pin_memory.callbacks import StepTimes
from pin_memory.loggers.keys import ROWS, STEPS, VALIDATION, find
from pin_memory.memory import TextPrototypes
from pin_memory.methods import (
    ERM,
    ISW,
    MLDG,
    ERMMemory,
    InstanceSelectiveWhitening,
    MetaSegNet,
    MetaSegNetDG,
    Method,
    PinTheMemory,
    TextAlignmentLoss,
)  # fmt: skip
from pin_memory.methods.memory_start import MemoryStart
from tests.helpers.stepping import WithoutTrainer
from tests.helpers.tiny import WAY, few_shot_segmenter, ridge_segmenter, tiny_alignment, tiny_batch, tiny_episodes, tiny_segmenter
from tests.methods.test_whitening import whitening_network

SGD = partial(torch.optim.SGD, lr=0.01)
BATCH = tiny_batch()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Newest value of every key."""
    found: dict[str, float] = {}

    def log_dict(self: LightningModule, values: Mapping[str, Any], **_: Any) -> None:
        found.update({name: float(value) for name, value in values.items()})

    monkeypatch.setattr(LightningModule, "log_dict", log_dict)
    monkeypatch.setattr(LightningModule, "log", lambda self, name, value, **_: log_dict(self, {name: value}))
    monkeypatch.setattr(Method, "log_now", log_dict)
    return found


def step(kind: type[Method], network: Any, batch: Any = BATCH, **options: Any) -> Method:
    """One step of a method whose metrics are written."""
    made = type(kind.__name__, (WithoutTrainer, kind), {})(network, SGD, **options).prepare()
    made.should_log = True
    made.training_step(batch, 0)
    return made


def validate(method: Any) -> None:
    """Log what a validation finds; of episodes there are scores of their own."""
    counts = SimpleNamespace(compute=lambda: torch.ones(4, 4))
    method.confusions = {"gtav": counts}
    method.scores = {"val": SimpleNamespace(compute=lambda: {"miou": torch.tensor(0.5), "fb_iou": torch.tensor(0.5)})}
    method.on_validation_epoch_end()


def time_steps(method: Method) -> None:
    """Log the seconds of three iterations."""
    times, trainer = StepTimes(), SimpleNamespace(log_every_n_steps=1, global_step=1)
    for _ in range(3):
        times.on_train_batch_start(trainer, method, None, 0)  # type: ignore[arg-type]
        times.on_train_batch_end(trainer, method, None, None, 0)  # type: ignore[arg-type]


def test_the_table_has_every_key_that_is_logged_and_every_one_is_logged(logged: dict[str, float]) -> None:
    text, alignment = TextPrototypes(None, 4, 8, rows="random", seed=3), TextAlignmentLoss(horizon=4, reweight="domain")
    aligned = partial(tiny_segmenter, alignment=tiny_alignment())
    structure = {"start": MemoryStart("procrustes", text), "weights": {"structure": 0.1}}
    method = step(PinTheMemory, aligned(), alignment=alignment, on_non_finite="skip", **structure)
    step(ERM, aligned(memory=False), alignment=alignment)
    images = {name: part | {"image": torch.randn(3, 3, 64, 64), "label": torch.zeros(3, 64, 64).long()} for name, part in BATCH.items()}
    step(ISW, whitening_network(), images, whitening=InstanceSelectiveWhitening())
    step(ERMMemory, tiny_segmenter())
    few_shot = step(MetaSegNet, few_shot_segmenter().double(), tiny_episodes(), way=WAY)
    for one in (method, few_shot):
        validate(one)
    time_steps(method)
    rows = [row for row in ROWS if row.when in (STEPS, VALIDATION)]
    used = {key: find(key) for key in logged if key != "step"}
    assert not [key for key, row in used.items() if row not in rows]
    assert not [row.keys for row in rows if row not in used.values()]
    for pattern in (pattern for row in rows for pattern in row.keys if "<" not in pattern):
        assert pattern in logged


@pytest.mark.parametrize("kind", [ERM, ERMMemory, MLDG, PinTheMemory, MetaSegNetDG, MetaSegNet])
def test_every_method_logs_its_total(logged: dict[str, float], kind: type[Method]) -> None:
    """Of meta-learning methods that of both steps, whose gradient the optimiser steps on."""
    if kind is MetaSegNet:
        step(kind, few_shot_segmenter().double(), tiny_episodes(), way=WAY)
    else:
        step(kind, ridge_segmenter() if kind is MetaSegNetDG else tiny_segmenter(memory=kind in (ERMMemory, PinTheMemory)))
    assert logged["loss/total"] > 0
    if "loss/inner" in logged:
        assert logged["loss/total"] == pytest.approx(logged["loss/inner"] + logged["loss/outer"], rel=1e-6)
    assert logged["step"] == 0  # iterations that this Trainer-less method had finished when it logged


def test_a_method_of_ones_own_has_its_own_name() -> None:
    class Mine(ERM):
        """Overrides nothing."""

    class Named(Mine):
        """With a name."""

        name = "named"

    assert (ERM.name, Mine.name, Named.name) == ("erm", "Mine", "named")
