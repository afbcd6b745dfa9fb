"""Learning-rate schedules as functions of the iteration."""

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, TypeGuard

from pydantic import AfterValidator, Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Positive, validated


def _above_zero(horizon: int) -> int:
    """Refuse a horizon that is none, as that of `trainer.max_steps=-1`."""
    if horizon < 1:
        raise ValueError("must be at least 1 (set it, or trainer.max_steps, above 0)")
    return horizon


Warmup = Annotated[int, Field(ge=0)]


def warmed_up(iteration: int, iterations: int) -> float:
    """The factor of a linear warm-up: 1 / n, 2 / n, ..., 1 in its n iterations, and 1 afterwards."""
    return min(1.0, (iteration + 1) / iterations) if iterations else 1.0


Horizon = Annotated[int, AfterValidator(_above_zero)]


@validated("schedule")
class ExponentialDecay:
    """lr · exp(-rate · t / horizon), stepped every iteration t (Pin the Memory: rate 9, horizon 120000).

    Args:
        rate: Decay over the whole horizon, in e-folds, >= 0.
        horizon: Iterations over which the decay unfolds; the published runs end long before it.
        warmup: Iterations in which the rate rises linearly from almost nothing, on top of the decay.
        factor: On the whole schedule, for the same schedule at other rates.

    Raises:
        ConfigurationError: A value is no number or out of its range.
    """

    def __init__(
        self, rate: Annotated[float, Field(ge=0)] = 9.0, horizon: Horizon = 120_000, warmup: Warmup = 0, factor: Positive = 1.0
    ) -> None:
        self.rate, self.horizon, self.warmup, self.factor = rate, horizon, warmup, factor

    def __call__(self, iteration: int) -> float:
        """The factor on the base learning rate, in (0, factor]."""
        return self.factor * warmed_up(iteration, self.warmup) * math.exp(-self.rate * iteration / self.horizon)


@validated("schedule")
class PolynomialDecay:
    """lr · (1 - t / horizon)^power, the usual schedule of DeepLab.

    Args:
        power: Exponent >= 0; 0 keeps the learning rate as it is.
        horizon: Iterations until zero; in the configurations `trainer.max_steps`, which then has to be above 0.
        warmup: Iterations in which the rate rises linearly from almost nothing, on top of the decay.
        factor: On the whole schedule, for the same schedule at other rates.

    Raises:
        ConfigurationError: A value is no number or out of its range.
    """

    def __init__(
        self, power: Annotated[float, Field(ge=0)] = 0.9, horizon: Horizon = 40_000, warmup: Warmup = 0, factor: Positive = 1.0
    ) -> None:
        self.power, self.horizon, self.warmup, self.factor = power, horizon, warmup, factor

    def __call__(self, iteration: int) -> float:
        """The factor on the base learning rate, in [0, factor]."""
        return self.factor * warmed_up(iteration, self.warmup) * (1 - min(iteration, self.horizon) / self.horizon) ** self.power


def is_torch_schedule(schedule: Any) -> TypeGuard[Callable[[Optimizer], LRScheduler]]:
    """Whether a schedule is one of PyTorch's, to be made from the optimiser, and not a function of the iteration."""
    made = schedule.func if isinstance(schedule, functools.partial) else None
    if not isinstance(made, type) or not issubclass(made, LRScheduler):
        return False
    if issubclass(made, ReduceLROnPlateau):
        raise ConfigurationError("schedule: ReduceLROnPlateau steps on a metric, expected a schedule that steps every iteration.")
    return True
