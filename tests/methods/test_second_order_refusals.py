"""What has no double backward is refused with `first_order: false`, before anything is launched."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from pin_memory.methods import MLDG, PinTheMemory
from pin_memory.methods.meta_learning import MetaLearning
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


def trainer(**options: Any) -> Trainer:
    """A Trainer for one CPU."""
    return Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, max_steps=1, **options)


def unchanged(network: MemorySegmenter) -> MemorySegmenter:
    """The network as it is."""
    return network


def synchronised(network: MemorySegmenter) -> nn.Module:
    """A network whose batch norms are synchronised across ranks."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def compiled_in_place(network: MemorySegmenter) -> MemorySegmenter:
    """A part compiled with `module.compile()`, which leaves the module's class alone."""
    network.backbone.compile()
    return network


def wrapped(network: MemorySegmenter) -> MemorySegmenter:
    """A part compiled with `torch.compile(module)`, which puts another module around it."""
    network.backbone = torch.compile(network.backbone)  # type: ignore[assignment]
    return network


FAULTS = [
    (unchanged, {"sync_batchnorm": True, "strategy": "ddp"}, "SyncBatchNorm"),  # on a single device Lightning converts nothing
    (synchronised, {}, "SyncBatchNorm"),
    pytest.param(compiled_in_place, {}, "compile", marks=pytest.mark.slow),
    (wrapped, {}, "compile"),
]


@pytest.mark.parametrize("kind", [MLDG, PinTheMemory])
@pytest.mark.parametrize(("change", "options", "expected"), FAULTS)
def test_second_order_refuses_what_cannot_be_differentiated_twice(
    kind: type[MetaLearning], change: Callable[[MemorySegmenter], MemorySegmenter], options: dict[str, Any], expected: str
) -> None:
    """The message names what to change; the first order takes the same network and Trainer."""
    network = change(tiny_segmenter(memory=kind is PinTheMemory))
    kind(network, SGD, first_order=True).check_trainer(trainer(**options))
    with pytest.raises(ConfigurationError, match=expected) as caught:
        kind(network, SGD, first_order=False).check_trainer(trainer(**options))
    assert "method.first_order=true" in str(caught.value)


@pytest.mark.parametrize("kind", [MLDG, PinTheMemory])
def test_second_order_takes_a_plain_network(kind: type[MetaLearning]) -> None:
    """What can be differentiated twice is not refused."""
    kind(tiny_segmenter(memory=kind is PinTheMemory), SGD, first_order=False).check_trainer(trainer())
