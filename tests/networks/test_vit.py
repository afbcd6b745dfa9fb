"""Networks on vision transformers: what every network must do, sizes and padding, depths, and what is refused."""

from typing import Any, ClassVar

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, SegFormerPyramid, VitBackbone
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from tests.helpers.vit_networks import HEADS, NAMES, vit_segmenter
from tests.networks.network_cases import NetworkCase


class VitCase(NetworkCase):
    """A head on a tiny transformer."""

    name: str
    head: str
    options: ClassVar[dict[str, Any]] = {}

    def build(self) -> MemorySegmenter:
        """With a memory."""
        return vit_segmenter(self.name, self.head, **self.options)

    def test_checkpointing_changes_no_gradient(self, network: MemorySegmenter) -> None:
        """Nor the features."""
        again = VitBackbone(self.name, **self.options, checkpointing=True)
        again.load_state_dict(network.backbone.state_dict())
        images = torch.randn(2, 3, 40, 64)
        found = []
        for backbone in (network.backbone.train(), again.train()):
            features = backbone(images)
            loss = sum(each.square().mean() for each in features[:3])
            found.append([features.deep, *torch.autograd.grad(loss, list(backbone.parameters()))])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class TestDinoV2Linear(VitCase):
    """Patches of 14 made 16."""

    name, head, options = "vit_nano_patch14_dinov2", "linear", {"patch_size": 16}


class TestDinoV2RawFusion(VitCase):
    """Features as they are, with registers."""

    name, head, options = "vit_nano_patch14_reg4_dinov2", "fusion", {"normalised": False}


class TestDinoV3SegFormer(VitCase):
    """Rotary positions, which blocks get by name."""

    name, head = "vit_nano_patch16_dinov3_qkvb", "segformer"


class TestEva02Fusion(VitCase):
    """Query, key and value apart, without fused attention."""

    name, head, options = "eva02_nano_patch14_56", "fusion", {"fused_attention": False}


class TestClipLinear(VitCase):
    """A mean and deviation of its own."""

    name, head = "vit_nano_patch16_clip_64", "linear"


def patch_means(head: str) -> MemorySegmenter:
    """A network without blocks: the features of a cell are the mean of its patch's first channel, and so are all its logits."""
    found = vit_segmenter("vit_nano_patch14_dinov2", head, memory=None, classes=2, patch_size=16, normalised=False)
    net: Any = found.backbone.net
    net.blocks = nn.Sequential(*(nn.Identity() for _ in range(4)))
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.zero_()
        net.patch_embed.proj.weight[:, 0] = 1 / 256
        for module in found.modules():
            if (isinstance(module, nn.Conv2d) and module is not net.patch_embed.proj) or isinstance(module, nn.ConvTranspose2d):
                module.weight.fill_(1 / module.in_channels)
            elif isinstance(module, nn.GroupNorm):
                module.weight.fill_(1.0)
    return found


@pytest.mark.parametrize("head", ["linear", "fusion"])
@pytest.mark.parametrize("size", [(97, 131), (1024, 2048)])
@torch.inference_mode()
def test_an_impulse_stays_where_it_is(head: str, size: tuple[int, int]) -> None:
    """A bright patch: the logits around it have their centre of mass in its centre, so nothing is shifted; one at the edge stays there."""
    segment = patch_means(head)
    rows, columns = size[0] // 16, size[1] // 16
    dark = segment(torch.zeros(1, 3, *size))[0, 0]
    for row, column in ((2, 3), (rows - 3, columns - 3), (rows - 3, 2)):
        image = torch.zeros(1, 3, *size)
        image[:, 0, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 1
        response = segment(image)[0, 0] - dark
        around = (
            (response - response.amin()) if head == "linear" else response.clamp(min=0.5 * float(response.amax())) - 0.5 * response.amax()
        )
        for axis, at in ((1, row), (0, column)):
            mass = around.sum(dim=axis).double()
            centre = float((mass * torch.arange(len(mass))).sum() / mass.sum())
            assert centre == pytest.approx(16 * at + 7.5, abs=1e-3)
    last = torch.zeros(1, 3, *size)
    last[..., -1, -1] = 256  # a single pixel, in a patch that is mostly padding in the smaller image
    place = int((segment(last)[0, 0] - dark).argmax())
    assert place // size[1] >= size[0] - 16
    assert place % size[1] >= size[1] - 16


@pytest.mark.parametrize("head", sorted(HEADS))
@torch.inference_mode()
def test_padding_is_cut_off_again(head: str) -> None:
    """An image of any size has the logits of the padded one, less what lies on the padding; the label may be finer than the image."""
    segment = vit_segmenter(head=head)
    image = torch.randn(2, 3, 30, 45)
    padded = segment(F.pad(image, (0, 11, 0, 12)))
    assert torch.equal(segment(image), padded[..., :30, :45])
    fine = segment.segment(image, (60, 90))
    torch.testing.assert_close(fine, F.interpolate(segment(image), (60, 90), mode="bilinear", align_corners=False))


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_chosen_depths_are_those_of_timm(name: str) -> None:
    """As they are or normalised; what is behind the last one is not there."""
    for normalised in (True, False):
        backbone = vit_segmenter(name, normalised=normalised).backbone
        assert backbone.depths == (1, 2, 3, 4)
        reference = timm.create_model(name, dynamic_img_size=True).eval()
        own = backbone.net.state_dict()
        reference.load_state_dict({key: value for key, value in own.items() if not key.startswith("norm.")}, strict=False)
        image = torch.randn(1, 3, 4 * backbone.output_stride, 2 * backbone.output_stride)
        expected = reference.forward_intermediates(backbone.for_network(image), intermediates_only=True)
        if normalised:
            expected = [backbone.net.norm(each.movedim(1, -1)).movedim(-1, 1) for each in expected]
        torch.testing.assert_close(backbone(image).deep, torch.cat(expected, dim=1), rtol=1e-6, atol=1e-6)
    shorter = VitBackbone("test_vit", depths=(1, 2, 3, 5))
    assert len(shorter.net.blocks) == 5


def test_images_are_normalised_as_the_network_was_trained() -> None:
    """CLIP's mean and deviation; what is padded is its mean colour."""
    backbone = vit_segmenter("vit_nano_patch16_clip_64").backbone.double()
    cfg = timm.get_pretrained_cfg("vit_nano_patch16_clip_64")
    pixels = torch.rand(1, 3, 32, 32, dtype=torch.float64)

    def normalised(values: Tensor, mean: Any, std: Any) -> Tensor:
        mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in (mean, std))
        return (values - mean) / std

    found = backbone.for_network(normalised(pixels, IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(found, normalised(pixels, cfg.mean, cfg.std), rtol=1e-6, atol=1e-6)


def test_a_linear_head_is_linear() -> None:
    """Without a memory; the sum of two feature maps has the sum of the logits, but for one bias."""
    made = vit_segmenter(memory=None).double()
    one, two = torch.randn(2, 1, 64, 3, 4, dtype=torch.float64)

    def logits(features: Tensor) -> Tensor:
        return made.decoder(made.aspp(features), features)

    torch.testing.assert_close(logits(one + two), logits(one) + logits(two) - logits(torch.zeros_like(one)))


def test_segformer_has_a_layer_for_each_depth() -> None:
    """Against four layers by hand."""
    pyramid = SegFormerPyramid(4 * 6, 8, 16).double()
    depths = torch.randn(4, 2, 6, 3, 5, dtype=torch.float64)
    layer, *fuse = pyramid
    apart = [F.conv2d(x, layer.weight[8 * i : 8 * i + 8], layer.bias[8 * i : 8 * i + 8]) for i, x in enumerate(depths)]
    torch.testing.assert_close(pyramid(torch.cat(list(depths), dim=1)), nn.Sequential(*fuse)(torch.cat(apart, dim=1)))


@pytest.mark.parametrize("part", ["none", "stem", "norms", "all"])
def test_frozen_parts_keep_their_weights(part: str) -> None:
    """Positions and tokens belong to the stem."""
    backbone = VitBackbone("vit_nano_patch14_dinov2", freeze=part)
    frozen = {name.removeprefix("net.") for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    every = {name.removeprefix("net.") for name, _ in backbone.named_parameters()}
    stem = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    norms = {name for name in every if "norm" in name}
    assert frozen == {"none": set(), "stem": stem, "norms": norms, "all": every}[part]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_nano_patch14_dino"}, r"no such network. Did you mean .*vit_nano_patch14_dinov2"),
        ({"name": "resnet18"}, r"resnet18 is no vision transformer .*network=deeplab_v3plus_timm"),
        ({"name": "swin_tiny_patch4_window7_224"}, "it has no blocks"),
        ({"name": "beit_base_patch16_224"}, "dynamic_img_size"),
        ({"name": "vit_small_r26_s32_224"}, "patches are those of a convolutional network"),
        ({"output_stride": 8}, r"output_stride=8: a vision transformer has one cell for each patch .*patch_size"),
        ({"depths": (1, 2, 3)}, "4 numbers of blocks"),
        ({"depths": (1, 2, 2, 3)}, "ascending"),
        ({"depths": (1, 2, 3, 5)}, "1 to 4; vit_nano_patch14_dinov2 has 4 blocks"),
        ({"image_size": 13}, "14 pixels, at least"),
        ({"freeze": "head"}, "expected one of none, stem, norms, all"),
        ({"instance_norm": "ibn"}, "has no place for instance norms"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, Any], message: str) -> None:
    """With the way out in the message."""
    with pytest.raises(ConfigurationError, match=message):
        VitBackbone(**({"name": "vit_nano_patch14_dinov2"} | options))


def test_four_pixels_of_a_patch_are_refused() -> None:
    """The released shares look at the corners of convolutional cells."""
    with pytest.raises(ConfigurationError, match=r"set network\.memory\.shares=area"):
        MemorySegmenter(VitBackbone("vit_nano_patch14_dinov2"), 19, 8, CategoricalMemory(channels=8), None, **HEADS["linear"])
