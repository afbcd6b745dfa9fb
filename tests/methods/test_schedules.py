"""Learning rates over the iterations: this library's functions and PyTorch's schedules."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from pin_memory.methods import ExponentialDecay, PolynomialDecay
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ERMByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.1)


def rates(schedule: Any, steps: int = 4) -> list[float]:
    """The learning rate before each of some steps, as multiples of the first."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, schedule=schedule).prepare().train()
    batch, found = tiny_batch(), []
    for index in range(steps):
        found.append(method.lr / 0.1)
        method.training_step(batch, index)
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, lambda t: 1.0),
        (ExponentialDecay(rate=2, horizon=8), lambda t: math.exp(-2 * t / 8)),
        (PolynomialDecay(power=0.5, horizon=8), lambda t: (1 - t / 8) ** 0.5),
        (PolynomialDecay(power=0.5, horizon=8, factor=2.0), lambda t: 2 * (1 - t / 8) ** 0.5),
        (ExponentialDecay(rate=2, horizon=8, warmup=2, factor=0.5), lambda t: min(0.5, (t + 1) / 4) * math.exp(-2 * t / 8)),
        (partial(lr_scheduler.CosineAnnealingLR, T_max=8), lambda t: (1 + math.cos(math.pi * t / 8)) / 2),
        (partial(lr_scheduler.MultiStepLR, milestones=[2], gamma=0.1), lambda t: 1.0 if t < 2 else 0.1),
    ],
)
def test_the_rate_is_that_of_the_schedule(schedule: Any, expected: Callable[[int], float]) -> None:
    """It steps once an iteration."""
    assert rates(schedule) == pytest.approx([expected(t) for t in range(4)])


def test_a_schedule_that_needs_a_metric_is_refused() -> None:
    """It has none in an iteration."""
    with pytest.raises(ConfigurationError, match="steps every iteration"):
        rates(partial(lr_scheduler.ReduceLROnPlateau, patience=3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ExponentialDecay(rate=-1), "schedule.rate must be greater"),
        (lambda: ExponentialDecay(horizon=0), "set it, or trainer.max_steps, above 0"),
        (lambda: PolynomialDecay(power=float("nan")), "schedule.power must be a finite number"),
        (lambda: PolynomialDecay(horizon=True), "schedule.horizon must be a valid integer"),
    ],
)
def test_values_out_of_range_are_refused(wrong: Callable[[], Any], message: str) -> None:
    """With the setting's name."""
    with pytest.raises(ConfigurationError, match=message):
        wrong()
