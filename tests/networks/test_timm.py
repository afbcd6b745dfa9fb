"""Backbones from timm: what every network must do, and what is their own: normalisation, taps, frozen parts."""

from typing import Any, ClassVar

import pytest
import timm
import torch
import torchvision

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone, TimmBackbone
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from tests.networks.network_cases import NetworkCase


class TimmCase(NetworkCase):
    """A DeepLabV3+ on a backbone of timm."""

    name: str
    options: ClassVar[dict[str, Any]] = {}

    def build(self) -> MemorySegmenter:
        """Narrow heads."""
        backbone = TimmBackbone(self.name, **self.options)
        return MemorySegmenter(backbone, channels=32, memory=CategoricalMemory(channels=32), auxiliary_channels=16)

    def test_checkpointing_changes_no_gradient(self, network: MemorySegmenter) -> None:
        """Nor the running statistics."""
        again = TimmBackbone(self.name, **self.options, checkpointing=True)
        again.load_state_dict(network.backbone.state_dict())
        images = torch.randn(2, 3, 64, 64)
        found = []
        for backbone in (network.backbone.train(), again.train()):
            torch.manual_seed(1)
            loss = sum(each.square().mean() for each in backbone(images)[:3])
            found.append([*torch.autograd.grad(loss, list(backbone.parameters())), *backbone.buffers()])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class TestEfficientNetLite0(TimmCase):
    """Padding that depends on the size of the image; mean and deviation of its own."""

    name = "tf_efficientnet_lite0"


class TestMobileNetV4(TimmCase):
    """Blocks of several kinds, at the finest stride."""

    name, options = "mobilenetv4_conv_small", {"output_stride": 8}


class TestConvNeXt(TimmCase):
    """Layer norm, and no feature that is only twice smaller than the image."""

    name = "convnext_tiny"


class TestResNet50d(TimmCase):
    """A stem of three convolutions."""

    name = "resnet50d"


def test_a_resnet_of_timm_computes_what_torchvision_s_does() -> None:
    """The same network from two libraries, with the weights of one, at their own stride: all three depths."""
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None).eval()
    backbone = TimmBackbone("resnet50", output_stride=32).eval()
    backbone.net.load_state_dict({key: value for key, value in reference.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(2, 3, 65, 97)
    with torch.inference_mode():
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
        expected = [x := stage(x) for stage in (reference.layer1, reference.layer2, reference.layer3, reference.layer4)]
        found = backbone(images)
    for a, b in zip((expected[0], expected[2], expected[3]), found[:3], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "taps", "reductions"),
    [
        ("tf_efficientnet_lite0", (1, 3, 4), (4, 16, 16)),
        ("convnext_atto", (0, 2, 3), (4, 16, 16)),
        ("resnet18", (1, 3, 4), (4, 16, 16)),
        ("regnety_002", (1, 3, 4), (4, 16, 16)),
    ],
)
def test_taps_are_chosen_by_reduction(name: str, taps: tuple[int, ...], reductions: tuple[int, ...]) -> None:
    """Low-level features four times smaller than the image, and the last two maps."""
    backbone = TimmBackbone(name).eval()
    with torch.inference_mode():
        found = backbone(torch.randn(1, 3, 64, 64))
    assert (backbone.taps, backbone.output_stride) == (taps, 16)
    assert tuple(64 // each.shape[-1] for each in found[:3]) == reductions
    assert tuple(each.shape[1] for each in found[:3]) == backbone.channels


def test_joined_taps_equal_a_loop_over_cells() -> None:
    """At half the size of the first one: the mean of four scaled cells."""
    torch.manual_seed(0)
    plain, joined = (TimmBackbone("tf_efficientnet_lite0", 8, taps=(1, 2, 3), joined=choice).eval() for choice in (False, True))
    joined.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 48, 64)
    with torch.inference_mode():
        low_level, auxiliary, deep = plain(images)[:3]
        found = joined(images)
    assert found.deep.shape == (1, joined.channels[2], 6, 8)
    assert joined.channels == (*plain.channels[:2], sum(plain.channels))
    assert torch.equal(found.low_level, low_level)
    assert torch.equal(found.auxiliary, auxiliary)
    scaled = [each / (each.square().mean(dim=1, keepdim=True) + 1e-6).sqrt() for each in (low_level, auxiliary, deep)]
    for i in range(6):
        for j in range(8):
            small = scaled[0][0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(dim=(1, 2))
            expected = torch.cat([small, scaled[1][0, :, i, j], scaled[2][0, :, i, j]])
            torch.testing.assert_close(found.deep[0, :, i, j], expected)


@pytest.mark.parametrize(("name", "blocks"), [("tf_efficientnet_lite0", 3), ("mobilenetv3_large_100", 3), ("mobilenetv4_conv_small", 2)])
def test_blocks_behind_the_last_tap_are_left_out(name: str, blocks: int) -> None:
    """The features are those of the complete network."""
    torch.manual_seed(0)
    backbone, complete = TimmBackbone(name, None, taps=(1, 1, 2)).eval(), timm.create_model(name, features_only=True).eval()
    backbone.net.load_state_dict({key: value for key, value in complete.state_dict().items() if key in backbone.net.state_dict()})
    assert len(backbone.net.blocks) == blocks < len(complete.blocks)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        found, expected = backbone.net(images), complete(images)
    for one, other in zip(found, expected[1:3], strict=True):
        assert torch.equal(one, other)


def test_taps_can_be_given() -> None:
    """Also one map for two purposes."""
    backbone = TimmBackbone("resnet18", output_stride=32, taps=(1, 3, 3))
    low, auxiliary, deep, _ = backbone(torch.randn(2, 3, 64, 64))
    assert [low.shape[-1], auxiliary.shape[-1], deep.shape[-1], backbone.output_stride] == [16, 4, 4, 16]
    assert not any(name.startswith("net.layer4") for name, _ in backbone.named_parameters())  # what is behind the last tap is not there


def test_channels_last_features_become_channels_first() -> None:
    """Swin gives (B, H, W, C)."""
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", output_stride=None).eval()
    with torch.inference_mode():
        found = backbone(torch.randn(1, 3, 224, 224))
    assert [tuple(each.shape[1:]) for each in found[:3]] == [(96, 56, 56), (384, 14, 14), (768, 7, 7)]


def test_images_are_normalised_as_the_network_was_trained() -> None:
    """EfficientNet-Lite's mean and deviation are 0.5: from ImageNet's normalisation it is an affine map of each channel."""
    pixels = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    backbone = TimmBackbone("tf_efficientnet_lite0").double().eval()
    with torch.inference_mode():
        expected = backbone.net((pixels - 0.5) / 0.5)
        found = backbone((pixels - mean) / std)
    torch.testing.assert_close(found.deep, expected[-1], rtol=1e-5, atol=1e-6)
    assert TimmBackbone("resnet18").scale is None  # nothing to adapt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet1800"}, r"no such network. Did you mean .*resnet18"),
        ({"name": "resnet18.nobody"}, r"no such network. Did you mean .*resnet18\."),
        ({"name": "hf-hub:somebody/something"}, "no such network"),  # its settings would be fetched from there
        ({"name": "swin_tiny_patch4_window7_224"}, "output_stride=null"),
        ({"name": "resnet18", "output_stride": 7}, "output stride of 7"),
        ({"name": "vit_tiny_patch16_224", "output_stride": None}, r"taps=\[LOW,AUXILIARY,DEEP\]"),
        ({"name": "resnet18", "taps": (1, 2)}, "three indices"),
        ({"name": "resnet18", "taps": (3, 2, 1)}, "ascending"),
        ({"name": "resnet18", "taps": (1, 2, 9)}, "below 5"),
        ({"name": "resnet18", "freeze": "head"}, "expected one of none, stem, norms, all"),
        ({"name": "vgg11", "output_stride": None, "checkpointing": True}, "no blocks"),
        ({"name": "vgg11", "output_stride": None, "freeze": "stem"}, "no stem"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, Any], message: str) -> None:
    """With the way out in the message."""
    with pytest.raises(ConfigurationError, match=message):
        TimmBackbone(**options)


@pytest.mark.parametrize("backbone", [ResNetBackbone, TimmBackbone])
@pytest.mark.parametrize("part", ["none", "stem", "norms", "all"])
def test_frozen_parts_keep_weights_and_statistics(backbone: Any, part: str) -> None:
    """A step with every gradient there is, in training mode: what is frozen is as before, the rest is not."""
    torch.manual_seed(0)
    network = backbone(18 if backbone is ResNetBackbone else "tf_efficientnet_lite0", freeze=part).train()
    before = {name: value.clone() for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    loss = sum(each.square().mean() for each in network(torch.randn(2, 3, 64, 64))[:3])
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if learning:
        loss.backward()
        torch.optim.SGD(learning, lr=0.1, weight_decay=0.1).step()
    after = network.state_dict()
    kept = {name for name, value in before.items() if torch.equal(value, after[name])}
    norms = {name for name in before if ".bn" in name or "bn1" in name or "downsample.1" in name or name.startswith("stem.1")}
    stem = {name for name in before if not any(part in name for part in ("blocks", "stage"))}
    assert kept == {"none": set(), "stem": stem, "norms": norms, "all": set(before)}[part]


@pytest.mark.parametrize("backbone", [ResNetBackbone, TimmBackbone])
@pytest.mark.parametrize("part", ["stem", "norms", "all"])
def test_frozen_parts_stay_frozen_with_synchronised_batch_norm(backbone: Any, part: str) -> None:
    """On several GPUs other modules take the place of batch norms, as Lightning puts them there."""
    network = backbone(18 if backbone is ResNetBackbone else "tf_efficientnet_lite0", freeze=part).train()
    expected = {name: module.training for name, module in network.named_modules()}
    network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in network.modules())
    found = {name: module.training for name, module in network.named_modules()}
    assert {name: found[name] for name in expected} == expected
