"""Learning-rate schedules as functions of the iteration."""

import math
from typing import Any

from pin_memory.utils.errors import ConfigurationError


class ExponentialDecay:
    """lr · exp(-rate · t / horizon), stepped every iteration t (Pin the Memory: rate 9, horizon 120000).

    Args:
        rate: Decay over the whole horizon, in e-folds, >= 0.
        horizon: Iterations over which the decay unfolds; the published runs end long before it.

    Raises:
        ConfigurationError: A value is no number or out of its range.
    """

    def __init__(self, rate: float = 9.0, horizon: int = 120_000) -> None:
        self.rate, self.horizon = _checked("rate", rate), _whole(horizon)

    def __call__(self, iteration: int) -> float:
        """The factor on the base learning rate, in (0, 1]."""
        return math.exp(-self.rate * iteration / self.horizon)


class PolynomialDecay:
    """lr · (1 - t / horizon)^power, the usual schedule of DeepLab.

    Args:
        power: Exponent >= 0; 0 keeps the learning rate as it is.
        horizon: Iterations until zero.

    Raises:
        ConfigurationError: A value is no number or out of its range.
    """

    def __init__(self, power: float = 0.9, horizon: int = 40_000) -> None:
        self.power, self.horizon = _checked("power", power), _whole(horizon)

    def __call__(self, iteration: int) -> float:
        """The factor on the base learning rate, in [0, 1]."""
        return (1 - min(iteration, self.horizon) / self.horizon) ** self.power


def _checked(name: str, value: Any) -> float:
    """A number of at least 0.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"schedule.{name}={value}: expected a number of at least 0.")
    return value


def _whole(horizon: Any) -> int:
    """A horizon of at least one iteration.

    Raises:
        ConfigurationError: It is less, as with trainer.max_steps=-1, or no whole number.
    """
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
        raise ConfigurationError(f"schedule.horizon={horizon}: expected a number of iterations; set it, or trainer.max_steps, above 0.")
    return horizon
