"""MixStyle against plain loops, in every kind of backbone and in steps with fast weights."""

import copy
import statistics
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from pin_memory.memory import CategoricalMemory
from pin_memory.methods.batches import merge
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.networks import GlobalLocalEmbedding, MemorySegmenter, MixStyle, ResNetBackbone, TimmBackbone, VitBackbone
from pin_memory.networks.mix_style import draw_shift, mix_moments
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.stepping import ByHand, ERMByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import TinyBackbone, tiny_batch

SGD = partial(torch.optim.SGD, lr=0.01)


class StagedBackbone(TinyBackbone):
    """The small backbone, which names its stages."""

    @property
    def early_stages(self) -> list[nn.Module]:
        """The first two of three."""
        return [self.low, self.middle]


def segmenter(mix: MixStyle | None, backbone: type[nn.Module] = StagedBackbone, memory: Any = None, **options: Any) -> MemorySegmenter:
    """A small network, always with the same weights."""
    torch.manual_seed(0)
    return MemorySegmenter(backbone(**options), 4, 6, memory, auxiliary_channels=4, dropout=0.0, mix_style=mix)


def images(number: int = 4, side: int = 64) -> torch.Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


def moments(values: list[float]) -> tuple[float, float]:
    """Mean and damped standard deviation."""
    return statistics.fmean(values), (statistics.variance(values) + 1e-6) ** 0.5


def test_moments_are_those_of_plain_loops() -> None:
    maps = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3 + 1
    share = torch.tensor([0.2, 0.7, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    found = mix_moments(maps, share, shift=2)
    for image, partner in enumerate((1, 2, 0)):
        for channel in range(2):
            own, other = (maps[index, channel].flatten().tolist() for index in (image, partner))
            (mean, deviation), (mean2, deviation2) = map(moments, (own, other))
            part = float(share[image])
            new_deviation, new_mean = part * deviation + (1 - part) * deviation2, part * mean + (1 - part) * mean2
            expected = [(value - mean) / deviation * new_deviation + new_mean for value in own]
            assert found[image, channel].flatten().tolist() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(found[2], maps[2], rtol=1e-12, atol=1e-12)  # of which all is its own


def test_moments_are_constants_in_the_backward_pass() -> None:
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mix_moments(maps, torch.zeros(2, 1, 1, 1), 1).sum(), maps)
    deviation = (maps.detach().var(dim=(2, 3), keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(gradient, (deviation.roll(1, 0) / deviation).expand_as(maps))


@pytest.mark.parametrize("number", [4, 6, 9])
def test_partners_are_of_other_domains_where_there_are_several(number: int) -> None:
    torch.manual_seed(0)
    for own in (2, 3):
        if number % own == 0:
            shifts = {draw_shift(number, own) for _ in range(60)}
            assert shifts == set(range(own, number - own + 1))
            assert all(image // own != (image - shift) % number // own for shift in shifts for image in range(number))
    assert {draw_shift(3, 3) for _ in range(30)} == {1, 2}  # one domain: any other image


BACKBONES = [
    pytest.param(partial(ResNetBackbone, 18, 32), id="ResNet"),
    pytest.param(partial(ResNetBackbone, 18, 32, checkpointing=True), id="ResNet, checkpointed"),
    pytest.param(partial(TimmBackbone, "tf_efficientnet_lite0", 32), id="EfficientNet"),
    pytest.param(partial(TimmBackbone, "convnext_atto", None, checkpointing=True), id="ConvNeXt, checkpointed"),
    pytest.param(partial(TimmBackbone, "regnety_002", None, checkpointing=True), id="RegNet, whose stages are checkpointed"),
    pytest.param(GlobalLocalEmbedding, id="global and local"),
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_mixes_early_maps_in_training_alone(backbone: Any) -> None:
    """Twice in a pass, with the gradients of activations that are kept; no new tensor, the same weights, nothing in evaluation."""
    mixed, plain = segmenter(MixStyle(1.0), backbone), segmenter(None, backbone)
    assert mixed.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in mixed.state_dict().items())
    calls: list[torch.Tensor] = []
    assert mixed.mix_style is not None
    mix = mixed.mix_style.mix
    mixed.mix_style.mix = lambda maps: calls.append(maps) or mix(maps)  # type: ignore[func-returns-value, method-assign]
    x = images()
    torch.manual_seed(3)
    out = mixed(x)
    gradients = torch.autograd.grad(out.square().mean(), list(mixed.backbone.parameters()), allow_unused=True)
    assert len(calls) == 2
    assert [x.shape[-1] // maps.shape[-1] for maps in calls] == [4, 8]
    assert not torch.allclose(out, plain(x), atol=1e-3)
    if getattr(mixed.backbone, "checkpointing", False):
        kept = segmenter(MixStyle(1.0), partial(backbone, checkpointing=False))
        torch.manual_seed(3)
        expected = torch.autograd.grad(kept(x).square().mean(), list(kept.backbone.parameters()), allow_unused=True)
        assert all((a is None) == (b is None) for a, b in zip(gradients, expected, strict=True))
        for a, b in zip(gradients, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    mixed.eval(), plain.load_state_dict(mixed.state_dict()), plain.eval()
    assert torch.equal(mixed(x), plain(x))
    assert len(calls) == 2


def test_a_frozen_backbone_is_mixed_and_a_copy_goes_its_own_way() -> None:
    """Frozen stages stay in evaluation mode while the network trains; a copy in evaluation does not follow the original."""
    network = segmenter(MixStyle(1.0), partial(ResNetBackbone, 18, 32, freeze="all"))
    other = copy.deepcopy(network).eval()
    plain = segmenter(None, partial(ResNetBackbone, 18, 32, freeze="all")).eval()
    x = images()
    assert not torch.allclose(network.backbone(x).deep, plain.backbone(x).deep, atol=1e-3)
    assert torch.equal(other.backbone(x).deep, plain.backbone(x).deep)
    assert not torch.allclose(other.train().backbone(x).deep, plain.backbone(x).deep, atol=1e-3)


@pytest.mark.parametrize("first_order", [True, False])
def test_fast_weights_run_through_it(first_order: bool) -> None:
    """The total gradient is that of an explicit copy which draws the same; in second order it is differentiated through the inner step."""
    network = segmenter(MixStyle(1.0, images_per_domain=3)).double()
    batch = {name: {**part, "image": part["image"].double()} for name, part in tiny_batch(side=32).items()}
    method: Any = MLDGByHand(network, SGD, first_order=first_order).prepare()
    train, test = merge(batch, ["a", "b"]), merge(batch, ["c"])
    torch.manual_seed(4)
    fast = FastWeights.after_step(network, method.loss(train, method.run_stage, ""), 0.3, first_order)
    torch.manual_seed(5)
    found = fast.total_gradients(method.loss(test, fast.call, ""))

    explicit = copy.deepcopy(network)
    method.network = explicit
    torch.manual_seed(4)
    parameters = dict(explicit.named_parameters())
    inner = torch.autograd.grad(method.loss(train, method.run_stage, ""), list(parameters.values()), create_graph=True)
    stepped = {name: value - 0.3 * gradient for (name, value), gradient in zip(parameters.items(), inner, strict=True)}
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.copy_(stepped[name])
    method.network = copied
    torch.manual_seed(5)
    outer = torch.autograd.grad(method.loss(test, method.run_stage, ""), list(copied.parameters()))
    if not first_order:  # ∇ L_out(Θ') times the Jacobian of the step
        outer = torch.autograd.grad(list(stepped.values()), list(parameters.values()), list(outer))
    for (name, value), own, after in zip(found.items(), inner, outer, strict=True):
        torch.testing.assert_close(value, own.detach() + after, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind", [ERMByHand, PinTheMemoryByHand])
def test_methods_step_with_it_and_write_their_memory_without(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = CategoricalMemory(4, 6, gumbel=False) if kind is PinTheMemoryByHand else None
    method: ByHand = kind(segmenter(MixStyle(1.0), memory=memory), SGD).prepare()
    modes: list[bool] = []
    mix = method.network.mix_style
    assert mix is not None
    monkeypatch.setattr(mix, "mix", lambda maps: modes.append(method.network.training) or maps)
    method.training_step(tiny_batch(side=32), 0)
    passes = 1 if memory is None else 3  # inner loss, write, outer loss; the commit in evaluation mode is none of them
    assert modes == [True, True] * passes


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (partial(VitBackbone, "vit_tiny_patch16_224"), "vit_tiny_patch16_224 has no early feature maps"),
        (partial(TimmBackbone, "swin_tiny_patch4_window7_224", None), "swin_tiny_patch4_window7_224 has no early feature maps"),
        (partial(ResNetBackbone, 18, instance_norm="isw"), "instance norms \\(isw\\) take away the moments"),
    ],
)
def test_what_cannot_be_mixed_is_refused(backbone: Any, message: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigurationError, match=message):
        MixStyle().attach(backbone())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probability": 1.1}, "network.mix_style.probability must be less than or equal to 1"),
        ({"alpha": 0.0}, "network.mix_style.alpha must be greater than 0"),
        ({"images_per_domain": 0}, "network.mix_style.images_per_domain must be greater than or equal to 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MixStyle(**settings)
