"""Vision transformers of timm as backbones: DINOv2, DINOv3, EVA-02, the image towers of CLIP, and their kin."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pin_memory.networks.backbones import BackboneFeatures
from pin_memory.networks.cells import Cells
from pin_memory.networks.checkpointing import checkpoint_blocks
from pin_memory.networks.timm_backbone import TimmNetwork
from pin_memory.networks.timm_weights import pretrained_state
from pin_memory.networks.vit_heads import DEPTHS
from pin_memory.utils.errors import ConfigurationError

_PARTS = ("patch_embed", "blocks", "norm", "forward_intermediates", "prune_intermediate_layers")


class VitBackbone(TimmNetwork):
    """A vision transformer whose patches are the feature cells, read at four depths.

    Low-level features are those of the first depth, auxiliary ones of the third, deep ones all four concatenated (4 D channels), all at
    one stride, the patch size. Images may have any size: they are padded to the right and below with zeros, the network's mean colour,
    and position embeddings are resampled.

    By default each depth is normalised by the network's last layer norm, as in the probes of DINOv2 and DINOv3: tokens grow from depth to
    depth, and some of DINOv2's without registers are ten times as long as their neighbours, so that raw ones do not suit one linear layer
    with one learning rate, nor a group norm over all cells. Rein, SoMA and VFMSeg (GTAV to Cityscapes) take the raw ones.

    Args:
        name: timm's name of the network, with or without the tag of its weights.
        patch_size: Side of a patch in pixels, to which the patch embedding is resampled; None for the network's own.
        image_size: Side of the images that learned position embeddings are kept for; None for the network's own, in whole patches.
        depths: Four numbers of blocks in ascending order, of which the output is read; None for a quarter, half, three quarters and all.
        normalised: Whether the last layer norm is applied to each depth.
        pretrained: `timm` for timm's weights (from a cache or a download), the path of a file (torch or safetensors; DINOv2's and DINOv3's
            own, timm's, Hugging Face's of DINOv2), or None for random weights.
        freeze: What does not learn: `none`, the `stem` (patches, positions and tokens), the `norms`, or `all`.
        checkpointing: Keep the inputs of the blocks in place of all activations and compute these again in the backward pass.
        fused_attention: Compute attention in one kernel, faster and with less memory, which cannot be differentiated twice.
        instance_norm: `none`; instance norms have their places in ResNets alone.
        output_stride: None; it is the patch size.

    Raises:
        ConfigurationError: timm has no such network, or it is no such transformer, an option does not fit it, or weights cannot be had.
    """

    net: Any

    def __init__(
        self,
        name: str = "vit_small_patch14_dinov2.lvd142m",
        patch_size: int | None = None,
        image_size: int | None = None,
        depths: Sequence[int] | None = None,
        normalised: bool = True,
        pretrained: str | None = None,
        freeze: str = "none",
        checkpointing: bool = False,
        fused_attention: bool = True,
        instance_norm: str = "none",
        output_stride: None = None,
    ) -> None:
        super().__init__(name, instance_norm)
        if output_stride is not None:
            raise ConfigurationError(
                f"network.backbone.output_stride={output_stride}: a vision transformer has one cell for each patch and no other stride."
                " Leave it out, and set network.backbone.patch_size."
            )
        if pretrained == "imagenet":
            raise ConfigurationError(
                f"network.backbone.pretrained=imagenet: {name} is called by its weights, which need not be of ImageNet. Set timm, or FILE."
            )
        options = _options(name, patch_size, image_size)
        weights = None if pretrained is None else pretrained_state(name, pretrained, **options)
        self.net = _built(name, options)
        self.pretrained = weights is not None
        if weights:
            self.net.load_state_dict({key: weights[key] for key in self.net.state_dict()}, strict=True)
        self.depths = _chosen(name, len(self.net.blocks), depths)
        self.normalised = normalised
        self._cut()
        self.output_stride = self.net.patch_embed.patch_size[0]
        self.cells = Cells(self.output_stride)
        width = self.net.embed_dim
        self.channels = (width, width, DEPTHS * width)
        self.checkpointing, self.fused_attention = checkpointing, fused_attention
        for module in self.net.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused_attention
        if checkpointing:
            checkpoint_blocks(self.net)
        self.freeze(freeze, self.net)
        if freeze == "stem":
            for parameter in self.net.parameters(recurse=False):  # positions and tokens, which are in no part
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> BackboneFeatures:
        """Features `(B, D, h, w)` twice and `(B, 4 D, h, w)` of images `(B, 3, H, W)` that are normalised for ImageNet."""
        height, width = images.shape[-2:]
        rows, columns = self.cells.padded((height, width))
        images = F.pad(self.for_network(images), (0, columns - width, 0, rows - height))
        indices = [depth - 1 for depth in self.depths]
        maps = self.net.forward_intermediates(images, indices=indices, norm=self.normalised, intermediates_only=True)
        return BackboneFeatures(maps[0], maps[2], torch.cat(maps, dim=1))

    def _cut(self) -> None:
        """Leave out what is behind the last depth; the norm that networks have behind their pooling is the last layer norm, too."""
        if isinstance(self.net.norm, nn.Identity):
            self.net.norm = self.net.fc_norm
        last = self.net.norm
        self.net.prune_intermediate_layers([depth - 1 for depth in self.depths], prune_norm=not self.normalised, prune_head=True)
        if self.normalised:
            self.net.norm = last
            if isinstance(last, nn.Identity):
                raise ConfigurationError(f"network.backbone.normalised=true: {self.name} ends in no norm. Set normalised=false.")


def _built(name: str, options: dict[str, Any]) -> Any:
    """The network of timm without a classifier."""
    return timm.create_model(name, num_classes=0, **options)


def _options(name: str, patch_size: int | None, image_size: int | None) -> dict[str, Any]:
    """What timm is asked to build; refuses what is no such transformer."""
    options: dict[str, Any] = {"dynamic_img_size": True}
    if patch_size is not None:
        options["patch_size"] = patch_size
    try:
        with torch.device("meta"):
            built = _built(name, options)
        if missing := [part for part in _PARTS if not hasattr(built, part)]:
            raise TypeError(f"it has no {missing[0]}")
        if hasattr(built.patch_embed, "backbone"):
            raise TypeError("its patches are those of a convolutional network")
        side = built.patch_embed.patch_size[0]
        own = built.patch_embed.img_size[0]
    except (TypeError, AttributeError, AssertionError, RuntimeError) as error:  # timm says of no network beforehand what it is
        raise ConfigurationError(
            f"network.backbone: {name} is no vision transformer that timm reads at several depths and any image size ({error}). Take one,"
            " such as vit_small_patch14_dinov2.lvd142m, or network=deeplab_v3plus_timm for other networks."
        ) from error
    if (image_size or side) < side:
        raise ConfigurationError(f"network.backbone.image_size={image_size}: expected a patch, {side} pixels, at least.")
    return options | {"img_size": (image_size or own) // side * side}


def _chosen(name: str, blocks: int, depths: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of blocks after which features are read."""
    chosen = tuple(depths) if depths is not None else tuple(blocks * part // DEPTHS for part in range(1, DEPTHS + 1))
    if len(chosen) != DEPTHS or list(chosen) != sorted(set(chosen)) or not 1 <= chosen[0] <= chosen[-1] <= blocks:
        raise ConfigurationError(
            f"network.backbone.depths={list(chosen)}: expected {DEPTHS} numbers of blocks in ascending order, 1 to {blocks}; {name} has"
            f" {blocks} blocks."
        )
    return chosen
