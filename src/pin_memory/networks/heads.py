"""Parts of DeepLabV3+ (Chen et al., ECCV 2018) and DeepLabV2 (TPAMI 2018) as released with the method: pyramid, decoder, auxiliary head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pin_memory.utils.errors import ConfigurationError

_RATES = (6, 12, 18)  # at output stride 16
_SUMMED_RATES = (6, 12, 18, 24)  # at output stride 8


def conv_norm(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear resize with aligned corners, the interpolation of the released networks throughout."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ASPP(nn.Module):
    """Image pooling, 1x1 and three dilated 3x3 branches, concatenated in this order and reduced by a 1x1 bottleneck.

    Args:
        inputs: Channels of the deep features.
        channels: Channels of each branch and of the output.
        output_stride: 16 has the dilation rates 6, 12, 18; they scale with the feature map (doubled at 8, halved at 32).
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        super().__init__()
        rates = [rate * 16 // output_stride for rate in _RATES]
        self.image_pooling = conv_norm(inputs, channels)
        self.branches = nn.ModuleList([conv_norm(inputs, channels), *(conv_norm(inputs, channels, 3, rate) for rate in rates)])
        self.bottleneck = conv_norm((2 + len(rates)) * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C4, h, w)` to `(B, C, h, w)`."""
        pooled = resize(self.image_pooling(x.mean(dim=(2, 3), keepdim=True)), x.shape[-2:])
        return self.bottleneck(torch.cat([pooled, *(branch(x) for branch in self.branches)], dim=1))


class SummedASPP(nn.Module):
    """DeepLabV2's pyramid: the sum of four dilated 3x3 branches, each with batch norm and ReLU; no image pooling.

    Args:
        inputs: Channels of the deep features.
        channels: Channels of each branch and of the output.
        output_stride: 8 has the dilation rates 6, 12, 18, 24; they scale with the feature map (halved at 16).
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_norm(inputs, channels, 3, rate * 8 // output_stride) for rate in _SUMMED_RATES)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C4, h, w)` to `(B, C, h, w)`."""
        first, *others = self.branches
        total = first(x)
        for branch in others:
            total = total + branch(x)
        return total


class ScaledFeatures(nn.Module):
    """In place of a pyramid: the deep features as they are, each cell scaled to a mean square of 1, so that one λ fits any backbone.

    Args:
        inputs: Channels of the deep features.
        channels: C; has to be as many.
        output_stride: Makes no difference.

    Raises:
        ConfigurationError: The numbers of channels differ.
    """

    def __init__(self, inputs: int, channels: int, output_stride: int) -> None:
        super().__init__()
        if inputs != channels:
            raise ConfigurationError(
                f"network.pyramid=ScaledFeatures passes on the backbone's {inputs} channels, found {channels}: set"
                f" network.channels={inputs}."
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, h, w)` to `(B, C, h, w)`."""
        return nn.functional.rms_norm(x.movedim(1, -1), (x.shape[1],), eps=1e-6).movedim(-1, 1)


class Decoder(nn.Module):
    """Joins the memory-enriched features with low-level ones and classifies; logits at the low-level resolution.

    Args:
        low_level: Channels of the low-level features.
        channels: Channels of the enriched features and of the two 3x3 convolutions.
        num_classes: K.
        low_level_channels: Channels the low-level features are reduced to.
    """

    def __init__(self, low_level: int, channels: int, num_classes: int, low_level_channels: int = 48) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(low_level, low_level_channels, 1, bias=False), nn.BatchNorm2d(low_level_channels), nn.ReLU(True)
        )
        self.refine = nn.Sequential(conv_norm(low_level_channels + channels, channels, 3), conv_norm(channels, channels, 3))
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, fused: Tensor, low_level: Tensor) -> Tensor:
        """Logits `(B, K, H/4, W/4)` from `(B, C, h, w)` and `(B, C1, H/4, W/4)`."""
        joined = torch.cat([self.reduce(low_level), resize(fused, low_level.shape[-2:])], dim=1)
        return self.classify(self.refine(joined))


class PlainDecoder(nn.Module):
    """DeepLabV2's classifier on the memory-enriched features only; logits at their resolution.

    Args:
        low_level: Channels of the low-level features, which it makes no use of.
        channels: Channels of the enriched features and of the 3x3 convolution.
        num_classes: K.
    """

    def __init__(self, low_level: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.refine = nn.Sequential(conv_norm(channels, channels, 3))
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, fused: Tensor, low_level: Tensor) -> Tensor:
        """Logits `(B, K, h, w)` from `(B, C, h, w)`."""
        return self.classify(self.refine(fused))


class ScoreDecoder(nn.Module):
    """No decoder: the scores that a ridge memory gives are the logits.

    Args:
        low_level: Channels of the low-level features, which it makes no use of.
        channels: Channels of what the memory gives, K.
        num_classes: K.

    Raises:
        ConfigurationError: The memory gives something else than K scores, or there is none.
    """

    def __init__(self, low_level: int, channels: int, num_classes: int) -> None:
        super().__init__()
        if channels != num_classes:
            raise ConfigurationError(
                f"network.decoder=ScoreDecoder passes on the {num_classes} scores of a RidgeMemory, found {channels} channels: set"
                " network.memory to one (method=meta_seg_net_dg does), or choose another decoder."
            )

    def forward(self, fused: Tensor, low_level: Tensor) -> Tensor:
        """Logits `(B, K, h, w)`."""
        return fused


class AuxiliaryHead(nn.Sequential):
    """Deep supervision on stage 3: 3x3 convolution, batch norm, ReLU, dropout, 1x1 classifier; `(B, C3, h, w)` to `(B, K, h, w)`."""

    def __init__(self, inputs: int, num_classes: int, channels: int = 512, dropout: float = 0.1) -> None:
        super().__init__(
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )
