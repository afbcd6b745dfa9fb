"""Sources that a method cannot train with."""

from functools import partial

import pytest
import torch

from pin_memory.methods import ERM, MLDG
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import tiny_segmenter

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
