"""Fourier amplitude randomisation: an image keeps its phases and takes a share of another one's amplitudes (after FDA and FSDR)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pin_memory.memory.operations import at_least_float32
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import pixels, standardized
from pin_memory.utils.validation import Share, validated

Band = Literal["low", "high", "both"]
_Frequency = Annotated[float, Field(ge=0, le=0.5)]  # cycles per pixel; 0.5 is the highest that pixels can show


@validated("method.randomisation")
class FourierRandomisation:
    """Mixes amplitudes between the images of a step: `A ← A + λ m (A' - A)`, with the phases as they are (labels stay true).

    The bands are those of FSDR (Huang et al., CVPR 2021), low and high frequencies, between which structure lies; the low one is the square
    window of FDA (Yang and Soatto, CVPR 2020); λ is uniform, as in FACT (Xu et al., CVPR 2021).

    Args:
        band: Frequencies whose amplitudes are mixed: `low`, `high` or `both`.
        low: Highest frequency of the low band, in cycles per pixel along either axis (FDA's β).
        high: Lowest frequency of the high band, likewise.
        strength: λ is drawn from 0 to this, for each image.
        probability: With which an image is changed.
        partner: `domain`: the other image is of another source domain, where the step holds several; `batch`: any other of the step.

    Raises:
        ConfigurationError: A setting is out of its range, or the bands overlap.
    """

    def __init__(
        self,
        band: Band = "both",
        low: _Frequency = 0.05,
        high: _Frequency = 0.25,
        strength: Share = 1.0,
        probability: Share = 0.5,
        partner: Literal["domain", "batch"] = "domain",
    ) -> None:
        if low >= high:
            raise ConfigurationError(
                f"method.randomisation.low={low}, high={high}: the low band ends where the high one has begun already. Set low below high."
            )
        self.band, self.low, self.high = band, low, high
        self.strength, self.probability, self.partner = strength, probability, partner

    def __call__(self, images: Tensor, domains: Sequence[str]) -> Tensor:
        """Other amplitudes for normalised images `(B, 3, H, W)`, whose domains have these names; drawn from torch's generators."""
        partners = draw_partners(domains, across=self.partner == "domain")
        drawn = torch.rand(2, len(images), 1, 1, 1, device=images.device)
        share = self.strength * drawn[0] * (drawn[1] < self.probability)
        colours = pixels(at_least_float32(images))
        others = torch.stack([colours[other] for other in partners])
        mask = band_mask(images.shape[-2], images.shape[-1], self.band, self.low, self.high, images.device)
        mixed = mix_amplitudes(colours, others, share * mask)
        return standardized(mixed.clamp(0, 255)).to(images.dtype)


def mix_amplitudes(images: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Images `(B, 3, H, W)` with their own phases, and amplitudes that are a share `(B, 1, H, W // 2 + 1)` of the others'."""
    spectrum = torch.fft.rfft2(images)
    own = spectrum.abs()
    amplitude = own + share.to(own) * (torch.fft.rfft2(others).abs() - own)
    return torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=images.shape[-2:])


def band_mask(height: int, width: int, band: Band, low: float, high: float, device: torch.device | None = None) -> Tensor:
    """1 at the frequencies of a band and 0 elsewhere, `(H, W // 2 + 1)`, in the order of `torch.fft.rfft2`."""
    rows, columns = torch.fft.fftfreq(height, device=device).abs(), torch.fft.rfftfreq(width, device=device)
    frequency = torch.maximum(rows[:, None], columns[None, :])
    chosen = {"low": frequency <= low, "high": frequency >= high}
    return (chosen["low"] | chosen["high"] if band == "both" else chosen[band]).float()


def draw_partners(domains: Sequence[str], across: bool) -> list[int]:
    """For each image the index of another one, at random; `across` domains where there are several."""
    partners = []
    for own, name in enumerate(domains):
        others = [index for index, other in enumerate(domains) if other != name] if across else []
        others = others or [index for index in range(len(domains)) if index != own] or [own]  # a step of one image
        partners.append(others[int(torch.randint(len(others), (), device="cpu"))])
    return partners
