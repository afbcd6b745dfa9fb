"""LoRA: what an adapted network computes, what of it learns, and that merging changes nothing."""

import copy
from typing import Any

import pytest
import torch
from timm.models.eva import Eva
from torch import nn

from pin_memory.networks import Lora, MemorySegmenter, ResNetBackbone, TimmBackbone
from pin_memory.networks.freezing import is_adapter
from pin_memory.networks.lora import Adapted, adapted_layers, merge_adapter
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.tiny import TinyBackbone
from tests.helpers.tiny_vit import TinyVit, vit_segmenter

POINTWISE = Lora(rank=2, alpha=4.0, dropout=0.0, targets=["conv_pw", "conv_pwl"], blocks=[0, 1, 2])


def convolutional(adapter: Lora = POINTWISE, **options: Any) -> MemorySegmenter:
    """EfficientNet-Lite0 up to maps of stride 4, with updates that are not zero."""
    torch.manual_seed(0)
    backbone = TimmBackbone(taps=(0, 1, 1), output_stride=32, **options)
    network = MemorySegmenter(backbone, 4, 8, auxiliary_channels=4, dropout=0.0, adapter=adapter)
    for _, layer in adapted_layers(network):
        nn.init.normal_(layer.lora_B.weight, std=0.2)  # type: ignore[arg-type]
    return network


BUILDS = [pytest.param(vit_segmenter, id="transformer"), pytest.param(convolutional, id="convolutions")]


def test_the_network_starts_as_it_was_and_keeps_its_names() -> None:
    """B is zero, the heads draw the same weights, and a file of the plain network fits but for A and B."""
    torch.manual_seed(0)
    plain = MemorySegmenter(TinyVit(), 4, 16, auxiliary_channels=4)
    torch.manual_seed(0)
    adapted = MemorySegmenter(TinyVit(), 4, 16, auxiliary_channels=4, adapter=Lora(rank=2, targets="qkv"))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.eval()(images), adapted.eval()(images))
    state = adapted.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    added = [f"backbone.net.blocks.{i}.attn.qkv.lora_{part}.weight" for i in range(3) for part in "AB"]
    assert sorted(state.keys() - plain.state_dict().keys()) == sorted(added)


def test_an_update_is_what_the_equation_says() -> None:
    """`W x + b + alpha / r * B (A x)` for each vector, and for each window of a convolution, by hand."""
    linear = dict(adapted_layers(vit_segmenter()))["backbone.net.blocks.1.attn.qkv"]
    a, b = linear.lora_A.weight, linear.lora_B.weight
    vector = torch.randn(16)
    expected = linear.weight @ vector + linear.bias + 6.0 / 3 * (b @ (a @ vector))
    torch.testing.assert_close(linear(vector), expected)
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    holder = _Holder(conv)
    Lora(rank=2, alpha=1.0, dropout=0.0, targets="conv")(holder)
    nn.init.normal_(conv.lora_B.weight)
    image = torch.randn(1, 3, 7, 7)
    window = nn.functional.pad(image, (1, 1, 1, 1))[0, :, 4:7, 2:5]  # that of the output at (2, 1)
    down = torch.stack([(row * window).sum() for row in conv.lora_A.weight])
    expected = torch.stack([(row * window).sum() for row in conv.weight]) + conv.bias + 0.5 * (conv.lora_B.weight[:, :, 0, 0] @ down)
    torch.testing.assert_close(conv(image)[0, :, 2, 1], expected)


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_else_of_the_backbone_learns_or_changes(build: Any) -> None:
    """In training mode: no gradient but for A and B, running statistics as they are; drop-out is on in the adapter alone."""
    network = build().train()
    backbone = network.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    network(torch.randn(2, 3, 32, 32)).square().mean().backward()
    learned = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert learned == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert learned == {name for name in before if is_adapter(name)} != set()
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert {name for name, module in backbone.named_modules() if module.training} == {
        name for name, _ in backbone.named_modules() if is_adapter(name)
    }
    assert not any(module.training for module in network.eval().modules())
    assert all(parameter.requires_grad for name, parameter in network.named_parameters() if not name.startswith("backbone."))


@pytest.mark.parametrize("build", BUILDS)
def test_merging_changes_no_output(build: Any) -> None:
    """To 1e-6 of the largest feature, in float32; afterwards the network is a plain one."""
    network = build().eval()
    merged = copy.deepcopy(network)
    merge_adapter(merged)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        for found, expected in zip(merged.backbone(images)[:3], network.backbone(images)[:3], strict=True):
            assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert not any(isinstance(module, Adapted) for module in merged.modules())
    assert list(merged.state_dict()) == [name for name in network.state_dict() if not is_adapter(name)]
    weight = next(name for name, _ in adapted_layers(network)) + ".weight"
    assert not torch.equal(merged.state_dict()[weight], network.state_dict()[weight])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpointing_changes_no_gradient(dropout: float) -> None:
    """Every update has the one that it has without, though no input of the first blocks needs one; the same mask is drawn again."""
    found = []
    for checkpointing in (False, True):
        network = vit_segmenter(memory=None, checkpointing=checkpointing, dropout=dropout).train()
        torch.manual_seed(1)
        loss = network(torch.randn(2, 3, 32, 32)).square().mean()
        torch.randn(3)  # somebody draws between the passes
        loss.backward()
        found.append({name: parameter.grad for name, parameter in network.named_parameters() if is_adapter(name)})
    assert len(found[0]) == 8
    assert all(value is not None and value.abs().max() > 0 for value in found[1].values())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_resnet_is_checkpointed_with_an_adapter() -> None:
    """The library's own backbone checkpoints by calls, not by classes: the same gradients there."""
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = ResNetBackbone(18, checkpointing=checkpointing)
        Lora(rank=2, dropout=0.3, targets=["conv2"], blocks=[0, -1])(backbone)
        torch.manual_seed(1)
        loss = backbone.train()(torch.randn(2, 3, 64, 64)).deep.square().mean()
        found.append(torch.autograd.grad(loss, [parameter for parameter in backbone.parameters() if parameter.requires_grad]))
    assert len(found[0]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.slow
def test_a_compiled_network_has_the_same_gradients() -> None:
    """Through the compiler's graphs, without its kernels."""
    found = []
    for backend in (False, "aot_eager"):
        torch.manual_seed(0)
        adapter = Lora(rank=2, dropout=0.0, targets=["qkv"])
        network = MemorySegmenter(TinyVit(), 4, 16, auxiliary_channels=None, adapter=adapter, compile=backend).train()
        for _, layer in adapted_layers(network):
            nn.init.normal_(layer.lora_B.weight, std=0.2)  # type: ignore[arg-type]
        network(torch.randn(2, 3, 32, 32)).square().mean().backward()
        found.append({name: value.grad for name, value in network.named_parameters() if is_adapter(name)})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-7)


class _Holder(TinyVit):
    """A backbone with another network in place of its own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"conv": net}) if isinstance(net, nn.Conv2d) else net  # type: ignore[assignment]


@pytest.mark.parametrize("fused", [True, False])
def test_a_bias_that_lies_next_to_the_layer(fused: bool) -> None:
    """timm's EVA reads the weight of `qkv` past the layer unless it is told not to; with q, k and v apart the message says so."""
    torch.manual_seed(0)
    net = Eva(
        img_size=32, patch_size=16, embed_dim=16, depth=2, num_heads=2, qkv_fused=fused, num_classes=0, global_pool="", use_abs_pos_emb=True
    )
    backbone, images = _Holder(net), torch.randn(2, 3, 32, 32)
    before = net.forward_features(images)
    if not fused:
        with pytest.raises(ConfigurationError, match=r"apart in it: \[q_proj,k_proj,v_proj\]"):
            Lora(targets="qkv")(backbone)
    Lora(rank=2, targets="qkv" if fused else ["q_proj", "v_proj"])(backbone)
    after = backbone.eval().net.forward_features(images)
    torch.testing.assert_close(after, before)
    after.square().sum().backward()
    learned = {name: parameter.grad for name, parameter in backbone.named_parameters() if is_adapter(name) and "lora_B" in name}
    assert len(learned) == (2 if fused else 4)
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in learned.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": ["qvk"]},
            r"VisionTransformer has no layer qvk\. .* called patch_embed\.proj \(1\), attn\.qkv \(3\), attn\.proj \(3\), mlp\.fc1 \(3\)",
        ),
        ({"targets": []}, "has no layer"),
        ({"targets": ["qkv"], "blocks": [3]}, r"blocks=\[3\]: expected indices of the 3 blocks .*\(0 to 2\)"),
        ({"targets": ["qkv"], "blocks": []}, "expected indices"),
        ({"rank": 0}, "network.adapter.rank"),
        ({"alpha": 0.0}, "network.adapter.alpha"),
        ({"dropout": 1.5}, "network.adapter.dropout"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, Any], message: str) -> None:
    """With the names and numbers that there are."""
    with pytest.raises(ConfigurationError, match=message):
        Lora(**options)(TinyVit())


def test_layers_and_backbones_of_other_kinds_are_refused() -> None:
    """A depthwise convolution has no such update, and a module that cannot be frozen would learn in secret."""
    with pytest.raises(ConfigurationError, match=r"blocks\.0\.0\.conv_dw is a Conv2d of 32 groups"):
        convolutional(Lora(targets=["conv_dw"]))
    with pytest.raises(ConfigurationError, match="expected a backbone that can be frozen, found TinyBackbone"):
        MemorySegmenter(TinyBackbone(), 4, 8, adapter=POINTWISE)  # type: ignore[arg-type]
