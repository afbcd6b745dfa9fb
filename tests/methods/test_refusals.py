"""Sources that a method cannot train with."""

from functools import partial

import pytest
import torch

from pin_memory.methods import ERM, MLDG, ERMMemory, MetaSegNetDG, Method, PinTheMemory
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import ridge_segmenter, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize("kind", [ERM, MLDG])
def test_a_single_image_of_any_source_is_refused(kind: type[ERM | MLDG]) -> None:
    """Batch norm after pooling fails on it; a source may have a batch size of its own."""
    method = kind(tiny_segmenter(memory=False), SGD)
    method.check_sources({"gtav": 4, "synthia": 2})
    with pytest.raises(ConfigurationError, match=r"loading\.batch_size=1 of the source synthia"):
        method.check_sources({"gtav": 4, "synthia": 1})


def test_no_source_is_refused() -> None:
    """With how to add one."""
    with pytest.raises(ConfigurationError, match="No source domain"):
        ERM(tiny_segmenter(memory=False), SGD).check_sources({})


@pytest.mark.parametrize(
    ("kind", "network", "message"),
    [
        (PinTheMemory, ridge_segmenter(), "method=pin_the_memory trains a CategoricalMemory, found network.memory=RidgeMemory"),
        (ERMMemory, ridge_segmenter(), "method=erm_memory trains a CategoricalMemory, found network.memory=RidgeMemory"),
        (MLDG, ridge_segmenter(), "set network.memory=null"),
        (MetaSegNetDG, tiny_segmenter(), "method=meta_seg_net_dg trains a RidgeMemory, found network.memory=CategoricalMemory"),
        (MetaSegNetDG, ridge_segmenter(balance=1.0), "Set head.balance=0"),
        (MetaSegNetDG, tiny_segmenter(memory=False), "needs a network with a memory, found network.memory=null"),
    ],
)
def test_a_method_and_the_memory_of_another_are_refused(kind: type[Method], network: MemorySegmenter, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        kind(network, SGD).check_sources({"gtav": 2, "synthia": 2})


def test_one_source_without_views_is_refused() -> None:
    for method in (MLDG(tiny_segmenter(memory=False), SGD), MetaSegNetDG(ridge_segmenter(), SGD)):
        with pytest.raises(ConfigurationError, match="needs at least two; found 1: gtav"):
            method.check_sources({"gtav": 2})
