"""MetaSegNet's embedding: a small residual network with a local and a global branch, trained from scratch (Tian et al., AAAI 2020).

The paper's tables could not be read. `literal` follows a third party's re-implementation of it; `ours` keeps its layers and moves the
strides, so that the dilated branch has a map to be dilated on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pin_memory.networks.backbones import BackboneFeatures
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.heads import resize
from pin_memory.utils.errors import ConfigurationError

PRESETS = {"literal": (2, 2, 1), "ours": (1, 1, 2)}
"""Strides of the third residual block, of the local branch's, and of the pooling before the global branch's."""
_SLOPE = 0.1


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions with batch norm; a 1x1 shortcut where size or channels change.

    Args:
        inputs: Channels of the input.
        outputs: Channels of all three convolutions.
        stride: Of the first one.
        dilations: Of each.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilations: Sequence[int] = (1, 1, 1)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, dilation in enumerate(dilations):
            first = place == 0
            convolution = nn.Conv2d(
                inputs if first else outputs, outputs, 3, stride if first else 1, padding=dilation, dilation=dilation, bias=False
            )
            layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(_SLOPE, inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])  # the last activation comes after the sum
        changes = stride > 1 or inputs != outputs
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = shortcut if changes else nn.Identity()
        self.activation = nn.LeakyReLU(_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, outputs, h / stride, w / stride)`."""
        return self.activation(self.layers(x) + self.shortcut(x))


class GlobalLocalEmbedding(Backbone):
    """MetaSegNet's "ResNet-9": a trunk of three residual blocks, and two branches of one each, joined per pixel.

    The local branch is dilated, the global one pooled. Its deep features are both, 512 channels each, the local ones first.

    Args:
        preset: `literal`, the table of a third party, with both branches at stride 32; `ours`: the local branch at stride 8, the global
            one at 32 and resized to it.
        one_way: The smaller dilations of that table for episodes of one class.
        freeze: As in `ResNetBackbone`.
        pretrained: None: there are no weights to start from.
        instance_norm: `none`, as in `TimmBackbone`.

    Raises:
        ConfigurationError: There is no such preset or part, or weights or instance norms are asked for.
    """

    channels = (64, 256, 1024)

    def __init__(
        self, preset: str = "ours", one_way: bool = False, freeze: str = "none", pretrained: None = None, instance_norm: str = "none"
    ) -> None:
        super().__init__()
        if pretrained is not None or instance_norm != "none":
            raise ConfigurationError(
                f"network.backbone: GlobalLocalEmbedding starts from random weights and has no place for instance norms, found"
                f" pretrained={pretrained}, instance_norm={instance_norm}. Leave both out, or take another network."
            )
        if preset not in PRESETS:
            raise ConfigurationError(f"network.backbone.preset={preset}: expected one of {', '.join(PRESETS)}.")
        third, local, pooling = PRESETS[preset]
        self.output_stride = 8 * third * local
        stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(64), nn.LeakyReLU(_SLOPE, inplace=True), _pool(2))
        self.stage1 = nn.Sequential(ResidualBlock(64, 64))
        self.stage2 = nn.Sequential(ResidualBlock(64, 128, 2), _pool())
        self.stage3 = nn.Sequential(ResidualBlock(128, 256, third, (1, 1, 1) if one_way else (1, 2, 4)))
        self.local_branch = nn.Sequential(ResidualBlock(256, 512, local, (2, 4, 8) if one_way else (8, 16, 32)))
        self.global_branch = nn.Sequential(_pool(pooling), _pool(), ResidualBlock(256, 512, 2), _pool(), _pool())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, _SLOPE)
        self.freeze(freeze)

    @property
    def early_stages(self) -> list[nn.Module]:
        """Stages 1 and 2 of the trunk."""
        return [self.stage1, self.stage2]

    def forward(self, images: Tensor) -> BackboneFeatures:
        """Run trunk and branches on normalised images `(B, 3, H, W)`."""
        low_level = self.stage1(self.stem(images))
        trunk = self.stage3(self.stage2(low_level))
        local = self.local_branch(trunk)
        return BackboneFeatures(low_level, trunk, torch.cat([local, resize(self.global_branch(trunk), local.shape[-2:])], dim=1))


class JoinBranches(nn.Sequential):
    """In place of a pyramid: batch norm and ReLU of both branches together, after a 1x1 convolution where C is another number.

    Args:
        inputs: Channels of the deep features.
        channels: C.
        output_stride: Makes no difference.
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        projection = [] if inputs == channels else [nn.Conv2d(inputs, channels, 1, bias=False)]
        super().__init__(*projection, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _pool(stride: int = 1) -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride, padding=1)
