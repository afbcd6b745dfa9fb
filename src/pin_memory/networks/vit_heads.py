"""Light heads on the concatenated depths of a vision transformer, as pyramids and decoders around the memory.

All keep the grid of patches; with them, simple heads have beaten heavy ones (Tang et al., AAAI 2025, on DINOv2-L with LoRA).
"""

from math import gcd

from torch import Tensor, nn

DEPTHS = 4
"""Depths that the deep features of a vision transformer hold, one after the other."""
_GROUPS = 32  # of a group norm, or fewer where they do not divide the channels


def group_norm(channels: int) -> nn.GroupNorm:
    """A group norm over so many channels."""
    return nn.GroupNorm(gcd(_GROUPS, channels), channels)


class LinearProjection(nn.Conv2d):
    """A 1x1 convolution of all depths; with `LinearDecoder` and no memory the head is linear.

    Args:
        inputs: Channels of the deep features.
        channels: C.
        output_stride: Makes no difference.
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        super().__init__(inputs, channels, 1)


class FusedDepths(nn.Sequential):
    """All depths by a 1x1 convolution, group norm and ReLU.

    Args:
        inputs: Channels of the deep features.
        channels: C.
        output_stride: Makes no difference.
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        super().__init__(nn.Conv2d(inputs, channels, 1, bias=False), group_norm(channels), nn.ReLU(inplace=True))


class SegFormerPyramid(nn.Sequential):
    """A linear layer for each depth, concatenated, then fused by a 1x1 convolution, group norm and ReLU (Xie et al., NeurIPS 2021).

    All depths have one size here, so that nothing is enlarged; the published head has batch norm.

    Args:
        inputs: Channels of the deep features, a multiple of the number of depths.
        channels: C.
        output_stride: Makes no difference.
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        by_depth = nn.Conv2d(inputs, DEPTHS * channels, 1, groups=DEPTHS)
        super().__init__(by_depth, *FusedDepths(DEPTHS * channels, channels, output_stride))


class LinearDecoder(nn.Module):
    """A 1x1 classifier of the memory-enriched features; logits at their resolution.

    Args:
        low_level: Channels of the low-level features, which it makes no use of.
        channels: Channels of the enriched features.
        num_classes: K.
    """

    def __init__(self, low_level: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, fused: Tensor, low_level: Tensor) -> Tensor:
        """Logits `(B, K, h, w)` from `(B, C, h, w)`."""
        return self.classify(fused)


class TransposedDecoder(nn.Module):
    """Two 2x2 transposed convolutions of stride 2, each with group norm and GELU, and a 1x1 classifier; logits four times as fine.

    Args:
        low_level: Channels of the low-level features, which it makes no use of.
        channels: Channels of the enriched features and of the convolutions.
        num_classes: K.
    """

    def __init__(self, low_level: int, channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False), group_norm(channels), nn.GELU()]
        self.enlarge = nn.Sequential(*layers)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, fused: Tensor, low_level: Tensor) -> Tensor:
        """Logits `(B, K, 4 h, 4 w)` from `(B, C, h, w)`."""
        return self.classify(self.enlarge(fused))
