"""Backbones from timm: any of its networks that gives feature maps, with its own normalisation and its own ImageNet weights."""

import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pin_memory.networks.backbones import BackboneFeatures
from pin_memory.networks.checkpointing import checkpoint_blocks
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.timm_weights import fill, pretrained_state
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.timm_names import no_such_network

_LOW_LEVEL = 4  # input size over the size of the low-level features that DeepLabV3+ joins


class TimmNetwork(Backbone):
    """A backbone made with timm, by its name; images arrive normalised for ImageNet and are normalised as the network was trained.

    Raises:
        ConfigurationError: timm has no such network, or instance norms are asked for.
    """

    scale: Tensor | None
    shift: Tensor | None
    checkpointing: bool

    def __init__(self, name: str, instance_norm: str) -> None:
        super().__init__()
        if instance_norm != "none":
            raise ConfigurationError(
                f"network.backbone.instance_norm={instance_norm}: a network of timm has no place for instance norms, expected none. Take a"
                " ResNet, for example network=deeplab_v3plus_resnet18, or a method without whitening and IBN."
            )
        _check_name(name)
        self.name, self.instance_norm, self.whitens = name, instance_norm, False
        self._register_normalisation(timm.get_pretrained_cfg(name))

    def for_network(self, images: Tensor) -> Tensor:
        """Images as the network was trained with, of images that are normalised for ImageNet."""
        return images if self.scale is None or self.shift is None else images * self.scale + self.shift

    def _register_normalisation(self, weights: Any) -> None:
        """Factor and offset from ImageNet's normalisation to the network's own; None where they are the same."""
        mean, std = (tuple(float(value) for value in values) for values in (weights.mean, weights.std))
        same = (mean, std) == (IMAGENET_MEAN, IMAGENET_STD)
        scale = [given / own for given, own in zip(IMAGENET_STD, std, strict=True)]
        shift = [(given - own) / by for given, own, by in zip(IMAGENET_MEAN, mean, std, strict=True)]
        for buffer, values in (("scale", scale), ("shift", shift)):
            self.register_buffer(buffer, None if same else torch.tensor(values).view(1, 3, 1, 1), persistent=False)


class TimmBackbone(TimmNetwork):
    """A network of timm, cut into the three depths that the heads tap.

    Args:
        name: timm's name of the network, with or without the tag of its weights, for example `tf_efficientnet_lite0`, `convnext_tiny`,
            `resnet50d.a1_in1k`.
        output_stride: Input size over deep feature size; None for the network's own, which is the only one that networks without strided
            convolutions have.
        pretrained: `timm` or `imagenet` for timm's weights (from an installed package, a cache, or a download, in this order), the path of
            a file (torch or safetensors), `packaged` for the weights of an installed package and, with a warning, random ones without it,
            or None for random weights.
        taps: Indices of the low-level, auxiliary and deep features among those that timm offers; None for the last one that is four times
            smaller than the image, and the last two.
        joined: The deep features are those of all three taps, each cell of each scaled to a mean square of 1, resized to the deepest one's
            size and joined (hypercolumns: Hariharan et al., CVPR 2015).
        freeze: What does not learn: `none`, the `stem` before the first stage, the `norms` (with running statistics), or `all`.
        checkpointing: Keep the inputs of the blocks in place of all activations and compute these again in the backward pass.
        instance_norm: `none`; where IBN-Net and RobustNet put theirs is defined for ResNets alone.

    Raises:
        ConfigurationError: timm has no such network or not with this stride, a tap does not exist, or weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str = "tf_efficientnet_lite0",
        output_stride: int | None = 16,
        pretrained: str | None = None,
        taps: Sequence[int] | None = None,
        joined: bool = False,
        freeze: str = "none",
        checkpointing: bool = False,
        instance_norm: str = "none",
    ) -> None:
        super().__init__(name, instance_norm)
        with torch.device("meta"):
            offered = _features(name, output_stride).feature_info.reduction()
        self.taps = _chosen(name, list(offered), taps)
        self.net = _features(name, output_stride, out_indices=sorted(set(self.taps)))
        if pretrained is not None and (weights := pretrained_state(name, pretrained)):
            fill(self.net, weights)
        _cut(self.net)
        channels = dict(zip(sorted(set(self.taps)), self.net.feature_info.channels(), strict=True))
        low_level, auxiliary, deep = (channels[tap] for tap in self.taps)
        self.channels, self.joined = (low_level, auxiliary, low_level + auxiliary + deep if joined else deep), joined
        self.output_stride, self.checkpointing = offered[self.taps[-1]], checkpointing
        if checkpointing:
            checkpoint_blocks(self.net)
        self.freeze(freeze, self.net)

    @property
    def early_stages(self) -> list[nn.Module]:
        """The first ones of strides 4 and 8, where each is one module and the network puts channels first."""
        if self._channels_last:
            return []
        modules = dict(self.net.named_modules())
        names = {info["reduction"]: info["module"] for info in reversed(self.net.feature_info.info)}
        found = [modules.get(name) or modules.get(name.replace(".", "_")) for stride, name in names.items() if stride in (4, 8)]
        return [stage for stage in reversed(found) if stage is not None] if None not in found else []

    @property
    def _channels_last(self) -> bool:
        """Whether the network gives its maps as (B, h, w, C)."""
        return str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> BackboneFeatures:
        """Feature maps of images `(B, 3, H, W)` that are normalised for ImageNet."""
        maps = self.net(self.for_network(images))
        if self._channels_last:
            maps = [each.permute(0, 3, 1, 2).contiguous() for each in maps]
        by_index = dict(zip(sorted(set(self.taps)), maps, strict=True))
        low_level, auxiliary, deep = (by_index[tap] for tap in self.taps)
        return BackboneFeatures(low_level, auxiliary, _joined((low_level, auxiliary, deep)) if self.joined else deep)


def _cut(net: Any) -> None:
    """Take the blocks behind the last features away from networks of MBConv blocks: timm runs them, and nothing reads what they give."""
    found = re.fullmatch(r"blocks\.(\d+)", net.feature_info.module_name()[-1])
    if found and isinstance(net.blocks, nn.Sequential):
        net.blocks = net.blocks[: int(found[1]) + 1]


def _joined(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps in one, of the size of the last by bilinear interpolation: of one twice as large, the mean of four cells."""
    scaled = [each * torch.rsqrt(each.square().mean(dim=1, keepdim=True) + 1e-6) for each in maps]
    size = (maps[-1].shape[-2], maps[-1].shape[-1])
    return torch.cat([F.interpolate(each, size=size, mode="bilinear", align_corners=False) for each in scaled], dim=1)


def _check_name(name: str) -> None:
    """Refuse what is no network of timm, above all an address that timm would fetch code-like settings from."""
    architecture = str(name).partition(".")[0]
    if timm.is_model(architecture) and (architecture == name or name in timm.list_pretrained(f"{architecture}.*")):
        return
    known = timm.list_models() if not timm.is_model(architecture) else timm.list_pretrained(f"{architecture}.*")
    raise no_such_network(name, known)


def _features(name: str, output_stride: int | None, **options: Any) -> Any:
    """The network as one that returns feature maps."""
    if output_stride is not None:
        options["output_stride"] = output_stride
    try:
        return timm.create_model(name, features_only=True, **options)
    except (TypeError, AssertionError, RuntimeError) as error:  # timm says of no network beforehand what it can be made into
        stride, advice = "", ""
        if output_stride is not None:
            stride, advice = f" with an output stride of {output_stride}", " Set network.backbone.output_stride=null for its own."
        reason = str(error) or type(error).__name__
        raise ConfigurationError(f"network.backbone: timm cannot cut {name} into features{stride} ({reason}).{advice}") from error


def _chosen(name: str, reductions: list[int], taps: Sequence[int] | None) -> tuple[int, int, int]:
    """Indices of the low-level, auxiliary and deep features."""
    if taps is None:
        shallow = [index for index, reduction in enumerate(reductions[:-1]) if reduction <= _LOW_LEVEL]
        if len(reductions) < 2 or not shallow:
            raise ConfigurationError(
                f"network.backbone: {name} has features of reductions {reductions}; expected one of at most {_LOW_LEVEL} and a deeper one."
                " Choose three with network.backbone.taps=[LOW,AUXILIARY,DEEP]."
            )
        return shallow[-1], len(reductions) - 2, len(reductions) - 1
    chosen = tuple(taps)
    if len(chosen) != 3 or any(not 0 <= tap < len(reductions) for tap in chosen) or list(chosen) != sorted(chosen):
        raise ConfigurationError(
            f"network.backbone.taps={list(chosen)}: expected three indices in ascending order below {len(reductions)}; {name} has"
            f" features of reductions {reductions}."
        )
    return chosen
