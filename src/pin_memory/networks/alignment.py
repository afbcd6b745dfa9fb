"""Text prototypes next to a network's features (after PPAR: Zhang et al., T-ITS 2025; what is theirs and what is ours: docs/alignment.md).

Original text prototypes (OTP) are fixed rows. Visual text prototypes (VTP) are the same rows after they have looked at an image, as a small
residual (DenseCLIP: Rao et al., CVPR 2022). Both serve training alone.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pin_memory.memory import TextPrototypes
from pin_memory.memory.operations import at_least_float32, unit
from pin_memory.networks.heads import conv_norm
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, Share, validated

_RESIDUAL = 1e-4  # γ at the start, as DenseCLIP


class ContextDecoder(nn.Module):
    """Lets text look at an image: self-attention, cross-attention and a perceptron in each layer, pre-norm, all in a narrower width.

    There is no code of positions: the order of the visual tokens does not matter, and classes that change places only change places.
    """

    def __init__(self, dim: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.text_in, self.visual_in = (nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width)) for _ in range(2))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, text: Tensor, visual: Tensor) -> Tensor:
        """What images `(B, N, D)` of N tokens say to text `(K, D)`, `(B, K, D)`."""
        tokens, visual = self.text_in(text).expand(len(visual), -1, -1), self.visual_in(visual)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no double backward
            for layer in self.layers:
                tokens = layer(tokens, visual)
        return self.out(tokens)


@validated("network.alignment")
class TextAlignment(nn.Module):
    """Takes features into the space of the text, and text to the images.

    Args:
        channels: C of the features.
        num_classes: K.
        text: The rows to align with.
        width: Width of the context decoder.
        layers: Its layers.
        heads: Its attention heads.
        dropout: Drop-out probability in it.

    Attributes:
        text: The rows `(K, D)`, a buffer: a checkpoint holds them, and loads without their file.

    Raises:
        ConfigurationError: The text has another number of classes, or the heads do not divide the width.
    """

    text: Tensor

    def __init__(
        self,
        channels: int,
        num_classes: int,
        text: TextPrototypes,
        width: Count = 256,
        layers: Count = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__()
        if len(text.rows) != num_classes:
            raise ConfigurationError(f"text: expected one row for each of the network's {num_classes} classes, found {len(text.rows)}.")
        if width % heads:
            raise ConfigurationError(f"network.alignment.heads={heads} does not divide network.alignment.width={width}.")
        self._source = text
        self.register_buffer("text", text.rows.clone())
        self.projector = nn.Sequential(conv_norm(channels, channels, 3), nn.Conv2d(channels, text.dim, 1))  # no ReLU: text has both signs
        self.decoder = ContextDecoder(text.dim, width, layers, heads, dropout)
        self.gamma = nn.Parameter(torch.full((text.dim,), _RESIDUAL))

    @property
    def prototypes(self) -> Tensor:
        """The original text prototypes `(K, D)`, unit rows."""
        return unit(self.text)

    def project(self, features: Tensor) -> Tensor:
        """Features `(B, C, h, w)` in the space of the text, unit vectors `(B, D, h, w)` in float32 at least."""
        return unit(at_least_float32(self.projector(features)))

    def visual_text(self, projected: Tensor) -> Tensor:
        """Visual text prototypes of projected features `(B, D, h, w)`, unit rows `(B, K, D)`.

        `unit(T + γ Dec(T, V))` with V the mean of the cells and the cells; no gradient reaches V, so that the prototypes come to the image,
        and not the image to the prototypes.
        """
        cells = projected.detach().flatten(2).transpose(1, 2)
        visual = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
        return unit(self.text + self.gamma * at_least_float32(self.decoder(self.text, visual)), dim=2)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse text whose file names other classes than the labels have."""
        self._source.check_classes(classes)
