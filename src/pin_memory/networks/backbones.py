"""ImageNet backbones from torchvision, cut into the stages that DeepLab taps."""

import logging
from typing import NamedTuple

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pin_memory.networks.checkpointing import checkpoint_blocks
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.instance_norm import KINDS, NormalisedBlock, place_instance_norms
from pin_memory.networks.pretrained import PACKAGED, RANDOM, pretrained_state
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

DEPTHS = (18, 34, 50, 101)
_DILATIONS = {8: (2, 4), 16: (1, 2), 32: (1, 1)}


class BackboneFeatures(NamedTuple):
    """Outputs of stages 1, 3 and 4: `(B, C1, H/4, W/4)`, `(B, C3, H/s3, W/s3)`, `(B, C4, H/s, W/s)`.

    `whitened` holds the standardised maps that RobustNet's loss looks at, of the stem and of stages 1 and 2; empty without `isw`.
    """

    low_level: Tensor
    auxiliary: Tensor
    deep: Tensor
    whitened: tuple[Tensor, ...] = ()


class ResNetBackbone(Backbone):
    """ResNet with the last stages dilated instead of strided (DeepLab).

    All 3x3 convolutions of a dilated stage carry its dilation, the first block included, as in the released networks; torchvision's own
    `replace_stride_with_dilation` leaves the first block undilated.

    Args:
        depth: 18, 34, 50 or 101.
        output_stride: Input size over deep feature size: 8, 16 or 32.
        pretrained: `imagenet` for torchvision's weights (`IMAGENET1K_V1`), the path of a file with such weights, also in a
            wrapper of a training's, None for random weights, or `packaged` for the same with a warning: no package ships them.
        instance_norm: `ibn` for learned instance norms after the stem and at the end of stages 1 and 2 (IBN-Net), `isw` for plain ones
            there, whose maps are returned for the whitening loss (RobustNet), or `none`.
        stride_in_1x1: Bottleneck blocks stride in their first 1x1 convolution (the original ResNet, and the released DeepLabV2) instead of
            their 3x3 convolution (torchvision).
        checkpointing: Keep the inputs of the residual blocks in place of all activations and compute these again in the backward pass:
            the same gradients in less memory, for about a third more time.
        freeze: What does not learn: `none`, the `stem`, the `norms` (with their running statistics), or `all`.

    Raises:
        ConfigurationError: For another depth, stride or norm, or weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        depth: int = 50,
        output_stride: int = 16,
        pretrained: str | None = None,
        instance_norm: str = "none",
        stride_in_1x1: bool = False,
        checkpointing: bool = False,
        freeze: str = "none",
    ) -> None:
        super().__init__()
        if depth not in DEPTHS or output_stride not in _DILATIONS:
            raise ConfigurationError(
                f"network: expected a ResNet depth of {DEPTHS} and an output stride of {tuple(_DILATIONS)},"
                f" found {depth} and {output_stride}."
            )
        if instance_norm not in KINDS:
            raise ConfigurationError(f"network.backbone.instance_norm={instance_norm}: expected one of {', '.join(KINDS)}.")
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        if pretrained == PACKAGED:
            log.warning(RANDOM, f"no package is known to ship those of ResNet-{depth}")
        elif pretrained is not None:
            net.load_state_dict(pretrained_state(depth, pretrained), strict=True)
        if instance_norm != "none":
            place_instance_norms(net, affine=instance_norm == "ibn")
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stage1, self.stage2, self.stage3, self.stage4 = net.layer1, net.layer2, net.layer3, net.layer4
        for stage, dilation in zip((self.stage3, self.stage4), _DILATIONS[output_stride], strict=True):
            if dilation > 1:
                _dilate(stage, dilation)
        if stride_in_1x1:
            _stride_in_1x1(self)
        self.output_stride, self.checkpointing = output_stride, checkpointing
        if checkpointing:
            checkpoint_blocks(self)
        self.instance_norm, self.whitens = instance_norm, instance_norm == "isw"
        expansion = 1 if depth < 50 else 4
        self.channels = (64 * expansion, 256 * expansion, 512 * expansion)
        self.freeze(freeze)

    def forward(self, images: Tensor) -> BackboneFeatures:
        """Run the stages on normalised images `(B, 3, H, W)`."""
        if self.whitens:
            low_level, second, whitened = self._whitened_stages(images)
        else:
            low_level, whitened = self.stage1(self.stem(images)), ()
            second = self.stage2(low_level)
        auxiliary = self.stage3(second)
        return BackboneFeatures(low_level, auxiliary, self.stage4(auxiliary), whitened)

    @property
    def early_stages(self) -> list[nn.Module]:
        """Stages 1 and 2."""
        return [self.stage1, self.stage2]

    def _whitened_stages(self, images: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Outputs of stages 1 and 2, and the normalised maps on the way there."""
        convolution, norm, relu, pool = self.stem
        maps = [norm(convolution(images))]
        outputs = [pool(relu(maps[0]))]
        for stage in (self.stage1, self.stage2):
            last = stage[-1]
            x = stage[:-1](outputs[-1])
            assert isinstance(last, NormalisedBlock)
            maps.append(last.normalised(x))
            outputs.append(maps[-1].relu())
        return outputs[1], outputs[2], tuple(maps)


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Trade the stride of a stage for dilation, so that its output keeps the input's resolution."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def _stride_in_1x1(backbone: nn.Module) -> None:
    """Move the stride of each bottleneck block from its 3x3 to its first 1x1 convolution; other blocks have none of these."""
    for block in backbone.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
