"""Logged norms against a float64 reference, and that they are computed only where they are written."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers.stepping import ERMByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Euclidean length of all numbers, in float64, number by number."""
    return sum(float(value) ** 2 for tensor in tensors.values() for value in tensor.detach().flatten().tolist()) ** 0.5


class Logging:
    """Keeps what is logged, and the fast weights."""

    def log(self, name: str, value: Any, **options: Any) -> None:
        """Keep a value."""
        self.__dict__.setdefault("logged", {})[name] = float(value)

    def log_dict(self, values: dict[str, Any], **options: Any) -> None:
        """Keep values."""
        for name, value in values.items():
            self.log(name, value)

    def inner_step(self, loss: torch.Tensor) -> Any:
        """Keep the fast weights and those before."""
        self.before = {name: p.detach().clone() for name, p in self.network.named_parameters()}  # type: ignore[attr-defined]
        self.fast = super().inner_step(loss)  # type: ignore[misc]
        return self.fast


class LoggingPinTheMemory(Logging, PinTheMemoryByHand):
    """Pin the Memory that keeps what is logged."""


class LoggingERM(Logging, ERMByHand):
    """ERM that keeps what is logged."""


def every(method: Any, steps: int) -> Any:
    """The method in a Trainer that writes metrics every so many steps."""
    method._trainer = SimpleNamespace(log_every_n_steps=steps)
    return method.prepare()


def iterate(method: Any, step: int) -> None:
    """Make one iteration, as a Trainer does."""
    batch = tiny_batch()
    method.on_train_batch_start(batch, step)
    method.training_step(batch, step)


def test_norms_are_those_of_the_gradients_and_of_the_fast_weights() -> None:
    method = every(LoggingPinTheMemory(tiny_segmenter(), SGD, inner_lr=0.3, anneal_inner_lr=False), 1)
    iterate(method, 0)
    logged = method.logged
    assert logged["grad_norm/total"] == pytest.approx(norm(method.gradients), rel=1e-5)
    assert logged["grad_norm/inner"] == pytest.approx(norm(method.fast.inner_gradients), rel=1e-5)
    assert logged["fast_weights/norm"] == pytest.approx(norm(method.fast.parameters), rel=1e-5)
    step = {name: value.detach() - method.before[name] for name, value in method.fast.parameters.items()}
    assert logged["fast_weights/step_norm"] == pytest.approx(norm(step), rel=1e-4)
    assert logged["inner_lr"] == 0.3
    assert logged["grad_norm/total"] != pytest.approx(logged["grad_norm/inner"], rel=1e-2)


def test_a_method_without_inner_step_logs_its_gradient_alone() -> None:
    method = every(LoggingERM(tiny_segmenter(memory=False), SGD), 1)
    iterate(method, 0)
    assert set(method.logged) == {"grad_norm/total", "lr", "step"}
    assert method.logged["lr"] == SGD.keywords["lr"]
    assert method.logged["grad_norm/total"] == pytest.approx(norm(method.gradients), rel=1e-5)


def test_norms_are_computed_only_in_the_iterations_that_are_written() -> None:
    method = every(LoggingPinTheMemory(tiny_segmenter(), SGD), 3)
    found = []
    for step in range(6):
        method.logged = {}
        iterate(method, step)
        found.append("grad_norm/total" in method.logged and "fast_weights/norm" in method.logged)
    assert found == [False, False, True, False, False, True]


def test_without_a_trainer_nothing_is_logged() -> None:
    method = LoggingPinTheMemory(tiny_segmenter(), SGD).prepare()
    method.logged = {}  # type: ignore[attr-defined]
    iterate(method, 0)
    assert method.logged == {}  # type: ignore[attr-defined]
