"""The ridge memory behind the doors of a memory, in a network."""

import copy
import io
from typing import Any

import pytest
import torch
from torch.export import export

from pin_memory.analysis import activation_maps, class_features, memory_items
from pin_memory.exporting.graph import InferenceGraph
from pin_memory.memory import Memory, RidgeMemory, ridge
from pin_memory.methods.batches import merge
from pin_memory.networks import MemorySegmenter, PlainDecoder, ScoreDecoder
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import TinyBackbone, ridge_segmenter, tiny_batch


def written(network: MemorySegmenter) -> MemorySegmenter:
    """The network with the classifier of a few images."""
    images, labels, _ = merge(tiny_batch())
    memory = network.eval().require_memory()
    memory.commit(network.write(network.encode(images.to(memory.items)).features, labels))
    return network


def test_read_and_write() -> None:
    """Scores are α (W x + b) + β; a class that nobody has shown scores β everywhere."""
    network = ridge_segmenter(classes=5)
    assert not network.require_memory().initialised
    memory = written(network).require_memory()
    assert isinstance(memory, RidgeMemory)
    assert memory.initialised
    assert (memory.items.shape, memory.directions.shape) == ((5, 7), (5, 6))
    with torch.no_grad():
        memory.shift.fill_(0.25)
        features = torch.randn(2, 6, 3, 4)
        found = memory.read(features).similarity
    assert (found[:, 4] == 0.25).all()
    expected = 10 * (memory.items[2, :6] @ features[1, :, 2, 3] + memory.items[2, 6]) + 0.25
    torch.testing.assert_close(found[1, 2, 2, 3], expected)
    assert memory.pivot_ratio >= 1
    with torch.no_grad():
        assert network.decode(network.read(features), network.encode(torch.randn(2, 3, 16, 16)), (16, 16)).shape == (2, 5, 16, 16)


def test_the_sum_of_moments_is_the_write_of_all_images() -> None:
    memory = RidgeMemory(4, 6, double=True)
    features, labels = torch.randn(6, 6, 3, 3), torch.randint(0, 4, (6, 12, 12))
    total = memory.moments(features[:2], labels[:2]) + memory.moments(features[2:], labels[2:])
    torch.testing.assert_close(memory.solve(total), memory.write(features, labels))
    assert total.gram.dtype == torch.float64
    assert memory.write(features, labels).dtype == torch.float32


@pytest.mark.parametrize("double", [False, True])
def test_half_precision_is_switched_off(double: bool) -> None:
    """What is written under autocast, from bfloat16 features, is what their values give in float32."""
    memory = RidgeMemory(4, 6, double=double)
    features, labels = torch.randn(2, 6, 3, 3).bfloat16(), torch.randint(0, 4, (2, 12, 12))
    with torch.autocast("cpu", torch.bfloat16):
        items = memory.write(features, labels)
        scores = memory.read(features, items).fused
    assert items.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(items, memory.write(features.float(), labels), rtol=0, atol=0)
    torch.testing.assert_close(scores, 10 * ridge.scores(features.float(), items))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RidgeMemory(4, 6, bias="learned"), "network.memory.bias=learned: expected one of none, penalised, free"),
        (lambda: RidgeMemory(4, 6, regularisation=0.0), "network.memory.regularisation must be greater than 0"),
        (lambda: MemorySegmenter(TinyBackbone(), 4, 6, None, 4, decoder=ScoreDecoder), "passes on the 4 scores of a RidgeMemory, found 6"),
        (lambda: MemorySegmenter(TinyBackbone(), 4, 6, RidgeMemory(4, 8), 4), "expected 4 items of 6 channels"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_decoder_may_refine_the_scores() -> None:
    network = written(ridge_segmenter(decoder=PlainDecoder))
    assert network.segment(torch.randn(1, 3, 32, 48)).shape == (1, 4, 32, 48)


def test_its_state_is_saved_and_copied() -> None:
    """Items, λ, α and β travel with the state; a copy predicts the same bits."""
    network = written(ridge_segmenter())
    names = {name for name in network.state_dict() if name.startswith("memory.")}
    assert names == {"memory.items", "memory.log_lambda", "memory.scale", "memory.shift"}
    torch.save(network.state_dict(), file := io.BytesIO())
    other = ridge_segmenter()
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.segment(images), other.eval().segment(images))
    assert torch.equal(network.segment(images), copy.deepcopy(network).segment(images))


def test_it_is_exported_with_its_items_as_constants() -> None:
    network = written(ridge_segmenter())
    graph = InferenceGraph(network)
    images = torch.randn(2, 3, 32, 32)
    found = export(graph, (images,), strict=False).module()(images)
    torch.testing.assert_close(found, network.segment(images), rtol=1e-5, atol=1e-5)


def test_the_analysis_asks_it_by_its_doors() -> None:
    network = written(ridge_segmenter())
    image = torch.randn(3, 32, 48)
    maps = activation_maps(network, image, size=(32, 48))
    torch.testing.assert_close(torch.from_numpy(maps)[None], network.segment(image[None]).detach(), rtol=1e-5, atol=1e-5)
    features = class_features(network, [part | {"image": part["image"]} for part in tiny_batch().values()])
    assert features.after is not None
    assert (features.before.shape, features.after.shape) == ((9, 4, 6), (9, 4, 4))
    before, after = memory_items(network), memory_items(network, "after")
    assert before is not None
    assert after is not None
    assert (before.shape, after.shape) == ((4, 6), (4, 4))
    assert Memory.measure != RidgeMemory.measure
