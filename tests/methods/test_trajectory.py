"""Four iterations in a row against an implementation with real copies of the network, written from the method's description."""

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch

from pin_memory.methods.batches import merge
from pin_memory.methods.losses import auxiliary_loss, cross_entropy, feature_cohesion, memory_classification, memory_divergence
from pin_memory.methods.schedules import ExponentialDecay
from pin_memory.networks import Encoding, MemorySegmenter
from tests.helpers.stepping import ByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

LR, MOMENTUM, DECAY, HORIZON = 0.05, 0.9, 5e-4, 20
DOMAINS = ("a", "b", "c", "d")
SIDES = [(["a", "c"], ["b", "d"]), (["d"], ["a", "b", "c"]), (["b", "a", "c"], ["d"]), (["c", "b"], ["d", "a"])]


def batches() -> list[dict[str, dict[str, Any]]]:
    """Four different iterations of four domains, in float64."""
    found = []
    for iteration in range(4):
        batch = tiny_batch(DOMAINS, images=2)
        found.append(
            {k: {"image": v["image"].double() + 0.1 * iteration, "label": v["label"].roll(iteration, -1)} for k, v in batch.items()}
        )
    return found


def reading_loss(network: MemorySegmenter, encoding: Encoding, labels: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
    """`L_seg + 0.4 L_aux`, and `+ 0.02 L_coh` with a memory."""
    reading = network.read(encoding.features, items)
    loss = cross_entropy(network.decode(reading, encoding, (16, 16)), labels) + 0.4 * auxiliary_loss(network.auxiliary(encoding), labels)
    return loss if items is None else loss + 0.02 * feature_cohesion(reading.similarity, labels)


def reference(network: MemorySegmenter, with_memory: bool) -> MemorySegmenter:
    """Train a copy with three networks side by side and an optimiser written out."""
    network = copy.deepcopy(network)
    velocity = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for iteration, batch in enumerate(batches()):
        lr = LR * math.exp(-9 * iteration / HORIZON)
        alpha = 1e-3 if iteration == 0 else lr / 4
        train, test = (merge(batch, side) for side in SIDES[iteration])
        items = network.require_memory().items.clone() if with_memory else None
        encoding = network.encode(train.images)
        inner = reading_loss(network, encoding, train.labels, items)
        if with_memory:
            written = network.write(encoding.features, train.labels, items)
            inner = inner + 0.4 * memory_divergence(written) + 0.2 * memory_classification(network.classify_items(written))
        gradients = dict(zip(velocity, torch.autograd.grad(inner, list(network.parameters()), allow_unused=True), strict=True))

        fast = copy.deepcopy(network)
        with torch.no_grad():
            for name, p in fast.named_parameters():
                p -= alpha * (0 if gradients[name] is None else gradients[name])
        if with_memory:
            with torch.no_grad():
                features = copy.deepcopy(fast).encode(train.images).features
            items = fast.write(features, train.labels, items)
        reading_loss(fast, fast.encode(test.images), test.labels, items).backward()

        with torch.no_grad():
            for (name, p), q in zip(network.named_parameters(), fast.parameters(), strict=True):
                total = sum((g for g in (gradients[name], q.grad) if g is not None), torch.zeros_like(p))
                velocity[name] = MOMENTUM * velocity[name] + total + DECAY * p
                p -= lr * velocity[name]
            if with_memory:
                network.eval()
                memory = network.require_memory()
                memory.items.copy_(network.write(network.encode(train.images).features, train.labels))
                network.train()
    return network


@pytest.mark.parametrize("by_hand", [PinTheMemoryByHand, MLDGByHand])
def test_four_iterations_with_several_domains_on_either_side(by_hand: type[ByHand]) -> None:
    """Parameters, running statistics and memory after four iterations with the annealed inner rate."""
    with_memory = by_hand is PinTheMemoryByHand
    network = tiny_segmenter(memory=with_memory).double().train()
    expected = reference(network, with_memory)
    optimizer = partial(torch.optim.SGD, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    split: Any = lambda domains, iteration: SIDES[iteration]  # noqa: E731
    method = by_hand(network, optimizer, ExponentialDecay(horizon=HORIZON), split=split).prepare()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    for batch in batches():
        method.training_step(batch, 0)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-9, atol=1e-12, msg=name)
    assert not torch.allclose(network.state_dict()["decoder.classify.weight"], start["decoder.classify.weight"])
