"""Every method with a frozen backbone and LoRA: what learns, at which rate, and the gradients of both orders."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.methods import TextAlignmentLoss
from pin_memory.methods.batches import Labelled, merge
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.networks import MemorySegmenter
from pin_memory.networks.freezing import is_adapter
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MetaSegNetDGByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_alignment, tiny_batch
from tests.helpers.tiny_vit import vit_segmenter

ALPHA = 0.3
SGD = partial(torch.optim.SGD, lr=0.01)


def batch() -> dict[str, dict[str, Any]]:
    """Three domains in float64."""
    return {k: v | {"image": v["image"].double()} for k, v in tiny_batch(images=2, side=32).items()}


def learning(network: MemorySegmenter) -> dict[str, Tensor]:
    """The parameters that learn."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def with_values(network: MemorySegmenter, values: dict[str, Tensor]) -> MemorySegmenter:
    """A deep copy of the network that holds values of some of its parameters."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in values:
                parameter.copy_(values[name])
    return other


def pin_the_memory(**options: Any) -> tuple[PinTheMemoryByHand, Labelled, Labelled]:
    """The method in float64, with a meta-train and a meta-test side."""
    method = PinTheMemoryByHand(vit_segmenter(**options).double(), SGD).prepare()
    assert isinstance(method, PinTheMemoryByHand)
    return method, merge(batch(), ["a", "b"]), merge(batch(), ["c"])


def outer_on_copy(method: PinTheMemoryByHand, stepped: MemorySegmenter, features: Tensor, train: Labelled, test: Labelled) -> Tensor:
    """L_out on an explicit network; the write sees the given features, which stand for stopgrad(E')."""
    items = stepped.write(features, train.labels)
    return method.reading_loss(stepped.encode(test.images), test.labels, items, lambda stage, *args: stepped(*args, stage=stage))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_first_order_equals_an_explicit_copy(checkpointing: bool) -> None:
    """Fast weights of adapter and heads alone, in float64, against a deep copy that was really stepped; the frozen ones stay."""
    method, train, test = pin_the_memory(checkpointing=checkpointing)
    network = method.network
    reference = copy.deepcopy(network)
    fast = FastWeights.after_step(network, method.reading_and_update_loss(train), ALPHA)
    assert fast.parameters.keys() == learning(network).keys()
    found = fast.total_gradients(method.outer_loss(test, fast, method.write_with(fast, train)))

    method.network = reference
    own = learning(reference)
    gradients = dict(zip(own, torch.autograd.grad(method.reading_and_update_loss(train), list(own.values())), strict=True))
    stepped = with_values(reference, {name: value - ALPHA * gradients[name] for name, value in own.items()})
    with torch.no_grad():
        features = copy.deepcopy(stepped).encode(train.images).features
    outer_on_copy(method, stepped, features, train, test).backward()
    for name, parameter in learning(stepped).items():
        outer = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], gradients[name] + outer, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(fast.parameters[name], parameter, rtol=1e-12, atol=1e-14)
    assert all(found[name].abs().max() > 0 for name in found if is_adapter(name))


def test_second_order_equals_finite_differences() -> None:
    """Central differences of L_in(Θ) + L_out(Θ - α ∇L_in(Θ)) along random directions of the adapter's weights."""
    method, train, test = pin_the_memory()
    network = method.network
    start = {name: value.detach().clone() for name, value in learning(network).items()}
    fast = FastWeights.after_step(network, method.reading_and_update_loss(train), ALPHA, first_order=False)
    with torch.no_grad():
        features = fast.call("encode", train.images).features
    found = fast.total_gradients(method.outer_loss(test, fast, method.write_with(fast, train)))

    def objective(values: dict[str, Tensor]) -> float:
        method.network = moved = with_values(network, values)
        own, inner = learning(moved), method.reading_and_update_loss(train)
        gradients = dict(zip(own, torch.autograd.grad(inner, list(own.values())), strict=True))
        stepped = with_values(network, {name: value - ALPHA * gradients[name] for name, value in values.items()})
        return float(inner.detach() + outer_on_copy(method, stepped, features, train, test).detach())

    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        direction = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) * is_adapter(n) for n, v in start.items()}
        ahead, behind = ({n: v + sign * 1e-7 * direction[n] for n, v in start.items()} for sign in (1, -1))
        numeric = (objective(ahead) - objective(behind)) / 2e-7
        assert float(sum((found[n] * direction[n]).sum() for n in start)) == pytest.approx(numeric, rel=1e-5)


def test_drop_out_under_functional_call_and_checkpointing() -> None:
    """The recomputation draws the mask of the first pass again, with fast weights, too: the same gradients as without."""
    found = []
    for checkpointing in (False, True):
        method, train, test = pin_the_memory(checkpointing=checkpointing, dropout=0.5)
        torch.manual_seed(2)
        fast = FastWeights.after_step(method.network, method.reading_and_update_loss(train), ALPHA)
        found.append(fast.total_gradients(method.outer_loss(test, fast, method.write_with(fast, train))))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


CASES = {
    "erm": (ERMByHand, None, {}),
    "erm_memory": (ERMMemoryByHand, "categorical", {}),
    "mldg": (MLDGByHand, None, {}),
    "pin_the_memory": (PinTheMemoryByHand, "categorical", {}),
    "meta_seg_net_dg": (MetaSegNetDGByHand, "ridge", {}),
    "ppar": (MLDGByHand, None, {"alignment": TextAlignmentLoss(horizon=10)}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_method_steps_on_adapter_and_heads_alone(case: str) -> None:
    """Two steps of each: A, B and the heads move, the backbone's own weights and running statistics do not by a bit."""
    kind, memory, options = CASES[case]
    network = vit_segmenter(memory, alignment=tiny_alignment() if options else None)
    method = kind(network.double(), SGD, **options).prepare().train()
    assert isinstance(method, ByHand)
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    for _ in range(2):
        method.on_train_batch_start(batch(), 0)
        method.training_step(batch(), 0)
    after = network.backbone.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {name for name in before if is_adapter(name)}
    assert set(method.gradients) == set(learning(network))


def test_adapters_learn_at_the_rate_of_the_heads() -> None:
    """The backbone's factor is for weights that are good already; in the inner step, too."""
    network = vit_segmenter()
    method = ERMMemoryByHand(network, partial(torch.optim.AdamW, lr=1e-3), backbone_lr_factor=0.1).prepare()
    rates = {id(value): group["lr"] for group in method.optimizers().param_groups for value in group["params"]}
    assert {rates[id(value)] for value in learning(network).values()} == {1e-3}
    assert {rates[id(value)] for value in network.parameters() if not value.requires_grad} == {1e-4}
    gradient = {name: torch.ones_like(value) for name, value in learning(network).items()}
    loss = sum((value * gradient[name]).sum() for name, value in learning(network).items())
    assert isinstance(loss, Tensor)
    fast = FastWeights.after_step(network, loss, 0.5, backbone_lr_factor=0.1)
    assert all(torch.equal(fast.parameters[name], value - 0.5) for name, value in learning(network).items())


def test_the_first_step_of_adamw_on_an_adapter() -> None:
    """A parameter that is frozen has no state, and weight decay does not touch it: B moves by the rate, the frozen weight not at all."""
    network = vit_segmenter(memory=None, filled=False)
    method = ERMByHand(network, partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.5)).prepare().train()
    method.training_step(tiny_batch(images=2, side=32), 0)
    state = method.optimizers().state
    assert {id(value) for value in state} == {id(value) for value in learning(network).values()}
    moved = [value.abs().max() for name, value in learning(network).items() if "lora_B" in name]
    torch.testing.assert_close(torch.stack(moved).detach(), torch.full((4,), 1e-3), rtol=1e-3, atol=0)
