"""What several processes log of their losses is the loss of all images."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.methods import ERM, PinTheMemory
from pin_memory.utils.distributed import rank, world_size
from tests.helpers.stepping import WithoutTrainer
from tests.helpers.tiny import tiny_batch, tiny_segmenter
from tests.helpers.two_ranks import on_two_ranks

pytestmark = pytest.mark.slow

SGD = partial(torch.optim.SGD, lr=0.01)
FROZEN = {"train_statistics": "frozen"}


class Logging(WithoutTrainer):
    """Keeps what is logged."""

    def log(self, name: str, value: Tensor, **_: Any) -> None:  # type: ignore[override]
        self.__dict__.setdefault("logged", {})[name] = float(value)

    def log_dict(self, values: dict[str, Tensor], **_: Any) -> None:  # type: ignore[override]
        for name, value in values.items():
            self.log(name, value)


class LoggingERM(Logging, ERM):
    """ERM that keeps what is logged."""


class LoggingPinTheMemory(Logging, PinTheMemory):
    """Pin the Memory that keeps what is logged."""


def losses(kind: type[Logging], every: int) -> dict[str, float]:
    """The losses that a step logs; each process has its share of four images of each domain, unequally labelled."""
    network = tiny_segmenter(memory=kind is LoggingPinTheMemory).double()
    method = kind(network, SGD, **FROZEN).prepare().train()
    network.eval()  # running statistics: batch norm sees the same, whatever the share
    method._trainer = SimpleNamespace(log_every_n_steps=every)
    batch = tiny_batch(images=4)
    share = slice(rank(), None, world_size())
    for part in batch.values():
        part["label"][0] = 255
        part |= {"image": part["image"].double()[share], "label": part["label"][share], "name": part["name"][share]}
    method.on_train_batch_start(batch, 0)
    method.training_step(batch, 0)
    return {name: value for name, value in method.logged.items() if name.startswith("loss/")}


@pytest.mark.parametrize("kind", [LoggingERM, LoggingPinTheMemory])
def test_written_losses_are_those_of_all_images(kind: type[Logging]) -> None:
    """Equal on both ranks and to one process with all images."""
    first, second = on_two_ranks(partial(losses_of, kind, 1))
    alone = losses(kind, 1)
    assert first == second
    assert first.keys() == alone.keys()
    assert first == pytest.approx(alone, rel=1e-5)


def test_losses_that_are_not_written_are_not_sent_round() -> None:
    """They are those of the process."""
    first, second = on_two_ranks(partial(losses_of, LoggingERM, 50))
    assert first["loss/total"] != pytest.approx(second["loss/total"], rel=1e-3)


def losses_of(kind: type[Logging], every: int, _: int) -> dict[str, float]:
    """As `on_two_ranks` calls it."""
    return losses(kind, every)
