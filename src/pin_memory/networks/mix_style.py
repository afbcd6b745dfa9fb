"""MixStyle: early feature maps take over a share of another image's channel moments, in training (Zhou et al., ICLR 2021)."""

from typing import Any

import torch
from torch import Tensor, nn

from pin_memory.memory.operations import at_least_float32
from pin_memory.networks.freezing import Backbone
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, Positive, Share, validated

_DAMPING = 1e-6  # of variances, as in the paper


@validated("network.mix_style")
class MixStyle(nn.Module):
    """Gives early feature maps mixed moments: `σ_mix (x - μ(x)) / σ(x) + μ_mix`, `μ_mix = λ μ(x) + (1 - λ) μ(x')`, σ_mix likewise.

    λ is drawn from Beta(α, α) for each image; μ and σ are those of each channel, and constants in the backward pass. The other image is
    of another domain where the pass holds several. Nothing is mixed outside of training mode. It has no parameters, no buffers.

    Args:
        probability: With which the maps of a pass are mixed, at each place.
        alpha: α; small: nearly all of one image's moments, or of the other's.
        images_per_domain: That follow each other in a step (`loading.batch_size`); where it differs, the largest.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    def __init__(self, probability: Share = 0.5, alpha: Positive = 0.1, images_per_domain: Count = 1) -> None:
        super().__init__()
        self.probability, self.alpha, self.images_per_domain = probability, alpha, images_per_domain

    def attach(self, backbone: Backbone) -> None:
        """Mix the output of a backbone's early stages from now on.

        Raises:
            ConfigurationError: The backbone names no stages with feature maps, or takes their moments away.
        """
        if getattr(backbone, "instance_norm", "none") != "none":
            raise ConfigurationError(
                f"network.mix_style: instance norms ({backbone.instance_norm}) take away the moments that MixStyle mixes. Choose one of the"
                " two."
            )
        stages = getattr(backbone, "early_stages", [])
        if not stages:
            raise ConfigurationError(
                f"network.mix_style: {getattr(backbone, 'name', type(backbone).__name__)} has no early feature maps (B, C, h, w) to mix, as"
                " vision transformers have none. Take a convolutional backbone, or +randomisation=fourier, which changes images."
            )
        for stage in stages:
            stage.register_forward_hook(self._after, with_kwargs=True)  # a bound method, which a copy of the network has as its own

    def _after(self, stage: nn.Module, inputs: Any, options: dict[str, Any], maps: Tensor) -> Tensor:
        """The output of a stage, mixed in training; a checkpointed stage calls itself, and only what it gives in the end counts."""
        return self.mix(maps) if self.training and "direct" not in options else maps

    def mix(self, maps: Tensor) -> Tensor:
        """Feature maps `(B, C, h, w)` with mixed moments, if it happens this time."""
        if len(maps) < 2 or float(torch.rand((), device="cpu")) >= self.probability:
            return maps
        alphas = torch.full((len(maps), 1, 1, 1), self.alpha, device=maps.device)
        share = torch.distributions.Beta(alphas, alphas, validate_args=False).sample()
        return mix_moments(maps, share, draw_shift(len(maps), self.images_per_domain))


def mix_moments(maps: Tensor, share: Tensor, shift: int) -> Tensor:
    """Maps `(B, C, h, w)` whose moments are theirs by a share `(B, 1, 1, 1)`, and those of the image `shift` places before otherwise."""
    own = at_least_float32(maps)
    variance, mean = (moment.detach() for moment in torch.var_mean(own, dim=(2, 3), keepdim=True))
    deviation = (variance + _DAMPING).sqrt()
    mixed = [share.to(own) * moment + (1 - share.to(own)) * moment.roll(shift, 0) for moment in (deviation, mean)]
    return ((own - mean) / deviation * mixed[0] + mixed[1]).to(maps.dtype)


def draw_shift(images: int, images_per_domain: int) -> int:
    """How many places before an image its partner lies, in a circle: so many that it is of another domain where there are several."""
    nearest = images_per_domain if images >= 2 * images_per_domain else 1
    return int(torch.randint(nearest, images - nearest + 1, (), device="cpu"))
