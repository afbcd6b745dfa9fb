"""The covariances to whiten are chosen from the images of all ranks."""

import pytest
import torch
from torch import Tensor

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from tests.helpers.agreement import ChannelsFlipped
from tests.helpers.two_ranks import on_two_ranks

pytestmark = pytest.mark.slow


def images() -> Tensor:
    """Four of them."""
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def masks(batches: list[Tensor]) -> list[Tensor]:
    """What is chosen from the batches when four images are to be looked at."""
    torch.manual_seed(0)
    network = MemorySegmenter(
        ResNetBackbone(18, 32, instance_norm="isw"), 4, 8, CategoricalMemory(4, 8), auxiliary_channels=4, dropout=0.0
    ).double()
    whitening = ChannelsFlipped(images=4)
    whitening.choose(network, [batches], sources=2)
    return [*whitening.masks, *whitening._variances(network.eval(), batches)]


def on_a_rank(rank: int) -> list[Tensor]:
    """With every other image, and more than are to be looked at."""
    return masks([images()[rank::2], torch.full((2, 3, 32, 32), float(rank), dtype=torch.float64)])


def test_the_choice_is_that_of_one_process() -> None:
    alone = masks([images()])
    for found in on_two_ranks(on_a_rank):
        for expected, value in zip(alone, found, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
