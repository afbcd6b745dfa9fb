"""Options that make a step faster or smaller change no number: channels_last, activation checkpointing, torch.compile."""

from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pin_memory.memory import CategoricalMemory
from pin_memory.methods.losses import cross_entropy
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ByHand, ERMByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4)
BATCH = {name: part | {"image": part["image"].double()} for name, part in tiny_batch(images=2, side=32).items()}
METHODS: dict[str, Any] = {
    "erm": ERMByHand,
    "pin_the_memory": PinTheMemoryByHand,
    "second_order": partial(PinTheMemoryByHand, first_order=False),
    "frozen": partial(PinTheMemoryByHand, train_statistics="frozen"),
}


def network(memory: bool, instance_norm: str = "none", checkpointing: bool = False, **options: Any) -> MemorySegmenter:
    """A narrow DeepLabV3+ on ResNet-18 in float64, without noise and drop-out."""
    torch.manual_seed(0)
    backbone = ResNetBackbone(18, 16, instance_norm=instance_norm, checkpointing=checkpointing)
    store = CategoricalMemory(4, 16, gumbel=False) if memory else None
    made = MemorySegmenter(backbone, 4, 16, store, auxiliary_channels=8, dropout=0.0, **options).double()
    if store is not None:
        store.commit(nn.functional.normalize(torch.rand(4, 16, dtype=torch.float64), dim=1))
    return made


def two_iterations(method: str, **options: Any) -> ByHand:
    """The method after two iterations on the same images."""
    return iterate(METHODS[method](network(method != "erm", **options), SGD))


def iterate(made: ByHand) -> ByHand:
    """Two iterations."""
    made.prepare().train()
    for _ in range(2):
        made.training_step(BATCH, 0)
    return made


@cache
def plain(method: str) -> ByHand:
    """The method after two iterations with no option set."""
    return two_iterations(method)


def same(found: ByHand, expected: ByHand) -> None:
    """Gradients of the last step, parameters, running statistics and memory."""
    torch.testing.assert_close(found.gradients, expected.gradients, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(dict(found.network.state_dict()), dict(expected.network.state_dict()), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["erm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pin_the_memory", "second_order"))])
def test_channels_last_changes_nothing(method: str) -> None:
    """The same step in another memory order."""
    found = two_iterations(method, channels_last=True)
    assert found.network.backbone.stage2[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    same(found, plain(method))


@pytest.mark.parametrize("method", ["pin_the_memory", *(pytest.param(name, marks=pytest.mark.slow) for name in ("second_order", "frozen"))])
def test_checkpointing_changes_nothing(method: str) -> None:
    """Activations are computed again with the weights of their own pass, and running statistics are updated once."""
    same(two_iterations(method, checkpointing=True), plain(method))


@pytest.mark.slow
def test_checkpointing_with_standardised_maps() -> None:
    """The blocks before those that RobustNet looks at."""
    same(two_iterations("erm", checkpointing=True, instance_norm="isw"), two_iterations("erm", instance_norm="isw"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm", "pin_the_memory"])
def test_compiled_stages_change_nothing(method: str) -> None:
    """Traced by PyTorch, with the network's weights and with fast ones."""
    torch.compiler.reset()
    found, expected = (
        iterate(METHODS[method](tiny_segmenter(memory=method != "erm", compile=compile).double(), SGD)) for compile in ("aot_eager", False)
    )
    assert set(found.network.state_dict()) == set(expected.network.state_dict())
    same(found, expected)


def test_checkpointing_keeps_less() -> None:
    """Bytes of the tensors that a loss holds for its backward pass."""
    everything, inputs = held(network(False)), held(network(False, checkpointing=True))
    assert inputs < 0.6 * everything, (inputs, everything)


def held(made: MemorySegmenter) -> int:
    """Bytes of the distinct activations that autograd keeps."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(made.train()(torch.randn(2, 3, 64, 64, dtype=torch.float64)), torch.zeros(2, 64, 64, dtype=torch.int64))
    return sum(storages.values())


def test_passes_of_an_iteration() -> None:
    """Four passes of the encoder, of which two keep a graph; two of decoder and auxiliary head."""
    method = PinTheMemoryByHand(network(True), SGD).prepare().train()
    passes: list[tuple[str, bool, bool]] = []
    for name in ("backbone", "aspp", "decoder", "auxiliary_head"):
        module = getattr(method.network, name)
        module.register_forward_hook(lambda m, *_, name=name: passes.append((name, torch.is_grad_enabled(), m.training)))
    method.training_step(BATCH, 0)
    inner = outer = [("backbone", True, True), ("aspp", True, True), ("decoder", True, True), ("auxiliary_head", True, True)]
    write = [("backbone", False, True), ("aspp", False, True)]
    commit = [("backbone", False, False), ("aspp", False, False)]
    assert passes == inner + write + outer + commit


def test_half_precision_keeps_losses_and_reads_in_float32() -> None:
    """Under autocast the convolutions are in bfloat16, and what is sensitive is not."""
    made = network(True).float().train()
    with torch.autocast("cpu", torch.bfloat16):
        encoding = made.encode(torch.randn(2, 3, 64, 64))
        reading = made.read(encoding.features)
        logits = made.decode(reading, encoding, (64, 64))
        items = made.write(encoding.features, torch.zeros(2, 64, 64, dtype=torch.int64))
        auxiliary = made.auxiliary(encoding)
    assert encoding.features.dtype == reading.fused.dtype == torch.bfloat16
    assert {reading.similarity.dtype, logits.dtype, auxiliary.dtype, items.dtype} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("first_order", [True, False])
def test_half_precision_weights_of_a_pass_without_graph_are_not_taken_for_one_with(first_order: bool) -> None:
    """Autocast keeps weights that it has cast; those of the write pass, cast without a graph, would give the outer pass no gradient."""
    gradients = []
    for cached in (True, False):
        torch.manual_seed(0)
        method = PinTheMemoryByHand(network(True).float(), SGD, first_order=first_order).prepare().train()
        batch = {name: {**part, "image": part["image"].float()} for name, part in BATCH.items()}
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
            method.training_step(batch, 0)
        gradients.append(method.gradients)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0.05, atol=1e-3 * float(gradients[1][name].abs().max()) + 1e-8)


@pytest.mark.parametrize("options", [{"compile": "nonsense"}, {"compile": True, "checkpointing": True}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    """Before anything is compiled."""
    with pytest.raises(ConfigurationError, match=r"network\.compile"):
        network(False, **options)
