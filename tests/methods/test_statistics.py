"""What batch norm normalises by while training, as a policy."""

from functools import partial

import pytest
import torch
from torch import nn

from pin_memory.methods.batches import merge
from pin_memory.methods.losses import auxiliary_loss, cross_entropy
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ByHand, ERMByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)


def statistics(method: ByHand) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.network.named_buffers() if "running" in name}


def test_mixture_normalises_a_side_by_all_images_of_the_iteration() -> None:
    """The inner loss is that of the whole batch's forward pass, taken over the meta-train domains alone."""
    network = tiny_segmenter(memory=False).double()
    batch = {k: v | {"image": v["image"].double()} for k, v in tiny_batch().items()}
    method = MLDGByHand(network, SGD, train_statistics="mixture").prepare()
    train, _ = method.split(list(batch), 0)
    encoding = network.encode(merge(batch).images)
    rows = [i for i, name in enumerate(name for name in batch for _ in range(3)) if name in train]
    labels = merge(batch).labels[rows]
    logits = network.decode(network.read(encoding.features), encoding, (16, 16))[rows]
    expected = cross_entropy(logits, labels) + 0.4 * auxiliary_loss(network.auxiliary(encoding)[rows], labels)
    method.training_step(batch, 0)
    assert method.terms["inner"] == pytest.approx(float(expected.detach()), rel=1e-12)


def test_mixture_keeps_the_other_side_out_of_losses_and_memory() -> None:
    """Other labels on the meta-test side change neither the inner loss nor the committed memory."""
    found = []
    for labels in (0, 1):
        batch = tiny_batch()
        method = PinTheMemoryByHand(tiny_segmenter(), SGD, train_statistics="mixture").prepare()
        _, test = method.split(list(batch), 0)
        for name in test:
            batch[name]["label"] = torch.full_like(batch[name]["label"], labels)
        method.training_step(batch, 0)
        found.append((method.terms["inner"], method.terms["divergence"], method.terms["outer"]))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]


def test_domain_statistics_see_the_meta_train_side_alone() -> None:
    found = []
    for policy in ("domain", "mixture"):
        method = MLDGByHand(tiny_segmenter(memory=False), SGD, train_statistics=policy).prepare()
        batch = tiny_batch()
        _, test = method.split(list(batch), 0)
        for name in test:
            batch[name]["image"] = batch[name]["image"] + 5
        method.training_step(batch, 0)
        found.append(statistics(method)["backbone.low.1.running_mean"])
    assert float((found[1] - found[0]).abs().max()) > 0.05


@pytest.mark.parametrize("by_hand", [ERMByHand, PinTheMemoryByHand])
def test_frozen_statistics_of_the_backbone_stay(by_hand: type[ByHand]) -> None:
    method = by_hand(tiny_segmenter(memory=by_hand is PinTheMemoryByHand), SGD, train_statistics="frozen").prepare()
    method.train()
    before = statistics(method)
    method.training_step(tiny_batch(), 0)
    after = statistics(method)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("backbone."))
    assert any(not torch.equal(after[name], before[name]) for name in before if name.startswith("aspp."))
    norms = [m for m in method.network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    method.eval()
    method.train()
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("by_hand", [partial(ERMByHand), partial(PinTheMemoryByHand, train_statistics="mixture")])
def test_statistics_freeze_after_the_iterations_that_are_asked_for(by_hand: "partial[ByHand]") -> None:
    """Two iterations as without it, then as frozen ones: weights, and statistics of the backbone, which move and then stay."""
    methods = []
    for options in ({}, {"freeze_statistics_after": 2}):
        torch.manual_seed(0)
        methods.append(by_hand(tiny_segmenter(memory=by_hand.func is PinTheMemoryByHand), SGD, **options).prepare())
    plain, freezing = methods
    for step in range(4):
        before = statistics(freezing)
        frozen = step >= 2
        assert freezing.statistics_at(step) == ("frozen" if frozen else freezing.train_statistics)
        if step == 2:  # from here on the other one is a method whose statistics were frozen all along
            plain.train_statistics = "frozen"
        for method in methods:
            method.train()  # as after a validation
            method.on_train_batch_start(tiny_batch(), step)
            torch.manual_seed(step)
            method.training_step(tiny_batch(), step)
        backbone = [name for name in before if name.startswith("backbone.")]
        assert all(torch.equal(statistics(freezing)[name], before[name]) == frozen for name in backbone)
        for name, value in plain.state_dict().items():
            assert torch.equal(freezing.state_dict()[name], value), (step, name)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"train_statistics=domain: method=ERMByHand .* mixture, frozen"):
        ERMByHand(tiny_segmenter(memory=False), SGD, train_statistics="domain")
