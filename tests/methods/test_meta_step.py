"""Gradients of the meta step against an explicit copy of the network and against finite differences."""

import copy
from collections.abc import Mapping
from functools import partial

import pytest
import torch

from pin_memory.methods.batches import Labelled, merge
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.methods.losses import cross_entropy
from pin_memory.networks import MemorySegmenter
from tests.helpers.stepping import PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

ALPHA = 0.3
SGD = partial(torch.optim.SGD, lr=0.01)


def method_and_sides() -> tuple[PinTheMemoryByHand, Labelled, Labelled]:
    """A method on the tiny network in float64, with a meta-train and a meta-test side."""
    method = PinTheMemoryByHand(tiny_segmenter().double(), SGD).prepare()
    batch = {k: {"image": v["image"].double(), "label": v["label"]} for k, v in tiny_batch().items()}
    assert isinstance(method, PinTheMemoryByHand)
    return method, merge(batch, ["a", "b"]), merge(batch, ["c"])


def with_parameters(network: MemorySegmenter, values: dict[str, torch.Tensor]) -> MemorySegmenter:
    """A deep copy of the network that holds `values`."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(values[name])
    return other


def outer_on_copy(
    method: PinTheMemoryByHand, stepped: MemorySegmenter, features: torch.Tensor, sides: tuple[Labelled, Labelled]
) -> torch.Tensor:
    """L_out computed on an explicit network; the write sees the given features, which stand for stopgrad(E')."""
    items = stepped.write(features, sides[0].labels)
    encoding = stepped.encode(sides[1].images)
    return method.reading_loss(encoding, sides[1].labels, items, lambda stage, *args: stepped(*args, stage=stage))


def assert_total(
    found: Mapping[str, torch.Tensor],
    inner: Mapping[str, torch.Tensor],
    method: PinTheMemoryByHand,
    stepped: MemorySegmenter,
    sides: tuple[Labelled, Labelled],
) -> None:
    """The gradients found are the inner ones plus those of the outer loss on an explicit network that was really stepped."""
    with torch.no_grad():
        features = copy.deepcopy(stepped).encode(sides[0].images).features
    outer_on_copy(method, stepped, features, sides).backward()
    for name, parameter in stepped.named_parameters():
        outer = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], inner[name] + outer, rtol=1e-9, atol=1e-12)


def test_first_order_equals_an_explicit_copy() -> None:
    """Inner gradient plus the gradient of the outer loss on a deep copy that was really stepped."""
    method, *sides = method_and_sides()
    network = method.network
    reference = copy.deepcopy(network)
    inner = method.reading_and_update_loss(sides[0])
    fast = FastWeights.after_step(network, inner, ALPHA, first_order=True)
    found = fast.total_gradients(method.outer_loss(sides[1], fast, method.write_with(fast, sides[0])))

    method.network = reference
    gradients = torch.autograd.grad(method.reading_and_update_loss(sides[0]), list(reference.parameters()))
    inner_gradients = dict(zip(dict(reference.named_parameters()), gradients, strict=True))
    stepped = with_parameters(reference, {n: p - ALPHA * inner_gradients[n] for n, p in reference.named_parameters()})
    assert_total(found, inner_gradients, method, stepped, (sides[0], sides[1]))
    assert stepped.require_memory().update.conv.weight.grad is not None  # the outer loss evaluates the memory it wrote


def test_with_heads_alone_inside_only_they_are_stepped() -> None:
    """The gradients are those of a deep copy whose heads were stepped and whose backbone was not; it gets both gradients all the same."""
    method, *sides = method_and_sides()
    method.inner_parameters, method.anneal_inner_lr, method.initial_inner_lr = "heads", False, ALPHA
    network = method.network
    reference = copy.deepcopy(network)
    fast = method.inner_step(method.reading_and_update_loss(sides[0]))
    found = fast.total_gradients(method.outer_loss(sides[1], fast, method.write_with(fast, sides[0])))

    method.network = reference
    gradients = torch.autograd.grad(method.reading_and_update_loss(sides[0]), list(reference.parameters()))
    inner = dict(zip(dict(reference.named_parameters()), gradients, strict=True))
    heads = {n: float(not n.startswith("backbone.")) for n in inner}
    assert set(heads.values()) == {0.0, 1.0}
    stepped = with_parameters(reference, {n: p - ALPHA * heads[n] * inner[n] for n, p in reference.named_parameters()})
    assert_total(found, inner, method, stepped, (sides[0], sides[1]))
    assert stepped.get_parameter("backbone.low.0.weight").grad is not None


@pytest.mark.parametrize("first_order", [True, False])
def test_total_gradient_equals_finite_differences(first_order: bool) -> None:
    """Central differences of L_in(Θ) + L_out(Θ - α g) along random directions; g is constant in first order, g(Θ) in second."""
    method, *sides = method_and_sides()
    network = method.network
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    fast = FastWeights.after_step(network, method.reading_and_update_loss(sides[0]), ALPHA, first_order)
    with torch.no_grad():
        features = fast.call("encode", sides[0].images).features
    found = fast.total_gradients(method.outer_loss(sides[1], fast, method.write_with(fast, sides[0])))
    constant = {n: (start[n] - p.detach()) / ALPHA for n, p in fast.parameters.items()}

    def objective(values: dict[str, torch.Tensor]) -> float:
        moved = with_parameters(network, values)
        method.network = moved
        inner = method.reading_and_update_loss(sides[0])
        gradients = dict(zip(start, torch.autograd.grad(inner, list(moved.parameters())), strict=True))
        step = constant if first_order else gradients
        stepped = with_parameters(network, {n: v - ALPHA * step[n] for n, v in values.items()})
        return float(inner.detach() + outer_on_copy(method, stepped, features, (sides[0], sides[1])).detach())

    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in start.items()}
        epsilon = 1e-7  # small, or the step crosses kinks of the ReLUs
        ahead, behind = ({n: v + sign * epsilon * direction[n] for n, v in start.items()} for sign in (1, -1))
        numeric = (objective(ahead) - objective(behind)) / (2 * epsilon)
        analytic = float(sum((found[n] * direction[n]).sum() for n in start))
        assert analytic == pytest.approx(numeric, rel=1e-5)


def test_first_and_second_order_differ() -> None:
    """The switch does something."""
    totals = []
    for first_order in (True, False):
        method, *sides = method_and_sides()
        fast = FastWeights.after_step(method.network, method.reading_and_update_loss(sides[0]), ALPHA, first_order)
        totals.append(fast.total_gradients(method.outer_loss(sides[1], fast, method.write_with(fast, sides[0]))))
    assert any(not torch.allclose(totals[0][n], totals[1][n], rtol=1e-4) for n in totals[0])


def test_passes_with_fast_weights_leave_the_network_alone() -> None:
    """Neither parameters nor running statistics nor the memory move."""
    method, *sides = method_and_sides()
    inner = method.reading_and_update_loss(sides[0])
    before = {k: v.clone() for k, v in method.network.state_dict().items()}
    fast = FastWeights.after_step(method.network, inner, ALPHA)
    fast.total_gradients(method.outer_loss(sides[1], fast, method.write_with(fast, sides[0])))
    for name, value in method.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_iteration_moves_statistics_once_and_the_memory_by_the_commit() -> None:
    """Batch norm counts the meta-train pass alone; the committed memory is the eval-mode write with the stepped weights."""
    method, *_ = method_and_sides()
    batch = {k: {"image": v["image"].double(), "label": v["label"]} for k, v in tiny_batch().items()}
    old = method.memory.items.clone()
    train, _ = method.split(list(batch), 0)
    method.training_step(batch, 0)
    assert int(method.network.aspp.bottleneck[1].num_batches_tracked) == 1
    assert int(method.network.require_memory().update.norm.num_batches_tracked) == 1
    assert method.network.training
    method.network.eval()
    side = merge(batch, train)
    expected = method.network.require_memory().write(method.network.encode(side.images).features, side.labels, old)
    torch.testing.assert_close(method.memory.items, expected.detach())
    assert int(method.images_seen) == 9


def test_a_fast_commit_stores_what_the_outer_step_has_read() -> None:
    """The memory is the write of a deep copy that was really stepped inside, in training mode; one pass of the encoder less is made."""
    method, *_ = method_and_sides()
    method.commit, method.anneal_inner_lr, method.initial_inner_lr = "fast", False, ALPHA
    batch = {k: {"image": v["image"].double(), "label": v["label"]} for k, v in tiny_batch().items()}
    side = merge(batch, method.split(list(batch), 0)[0])
    reference = copy.deepcopy(method.network)
    passes: list[object] = []
    method.network.backbone.register_forward_hook(lambda *_: passes.append(1))
    method.training_step(batch, 0)

    other = PinTheMemoryByHand(reference, SGD).prepare()
    assert isinstance(other, PinTheMemoryByHand)
    parameters = dict(reference.named_parameters())
    gradients = torch.autograd.grad(other.reading_and_update_loss(side), list(parameters.values()))
    stepped = with_parameters(reference, {n: p - ALPHA * g for (n, p), g in zip(parameters.items(), gradients, strict=True)})
    expected = stepped.write(stepped.encode(side.images).features, side.labels)
    torch.testing.assert_close(method.memory.items, expected.detach(), rtol=1e-9, atol=1e-12)
    assert len(passes) == 3  # inner, write, outer


def test_annealed_inner_rate_follows_the_schedule() -> None:
    """1e-3 in the first iteration, a quarter of the current rate afterwards."""
    method = PinTheMemoryByHand(tiny_segmenter(), SGD, lambda t: 0.5**t).prepare()
    assert isinstance(method, PinTheMemoryByHand)
    rates = []
    for _ in range(3):
        rates.append(method.inner_lr)
        method.training_step(tiny_batch(), 0)
    assert rates == pytest.approx([1e-3, 0.005 / 4, 0.0025 / 4])


def test_the_commit_uses_the_stepped_weights_under_autocast() -> None:
    """Autocast caches half-precision weights; the commit must not read with those from before the step."""
    method = PinTheMemoryByHand(tiny_segmenter(), partial(torch.optim.SGD, lr=1.0)).prepare()
    batch = tiny_batch()
    old = method.network.require_memory().items.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method.training_step(batch, 0)
        committed = method.network.require_memory().items.clone()
        torch.clear_autocast_cache()
        method.network.eval()
        side = merge(batch, method.split(list(batch), 0)[0])
        expected = method.network.write(method.network.encode(side.images).features, side.labels, old)
    torch.testing.assert_close(committed, expected.detach())


def test_a_network_without_auxiliary_head_has_no_auxiliary_loss() -> None:
    """`network.auxiliary_channels=null`: the segmentation loss alone, and the outer step trains all that is left."""
    method, train, test = method_and_sides()
    network = method.network
    encoding = network.encode(train.images)
    reading = network.read(encoding.features)
    alone = cross_entropy(network.decode(reading, encoding, train.labels.shape[-2:]), train.labels)
    assert method.segmentation_loss(reading, encoding, train.labels) > alone  # with the head
    network.auxiliary_head = None
    torch.testing.assert_close(method.segmentation_loss(reading, encoding, train.labels), alone, rtol=0, atol=0)
    fast = FastWeights.after_step(network, method.reading_and_update_loss(train), ALPHA, first_order=True)
    gradients = fast.total_gradients(method.outer_loss(test, fast, method.write_with(fast, train)))
    assert len(gradients) == len(list(network.parameters()))
