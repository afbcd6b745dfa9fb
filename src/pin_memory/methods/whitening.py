"""Instance selective whitening (RobustNet; Choi, Jung, Yun, Kim, Kim, Choo, CVPR 2021).

Covariances between channels that change when only the colours of a picture change carry its style. They are found once, after a warm-up,
and pushed to zero from then on.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, Strict
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torchvision.transforms import v2

from pin_memory.memory.operations import at_least_float32
from pin_memory.methods.batches import evaluation_mode
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import sum_over_ranks, world_size
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.validation import validated

_DAMPING = 1e-5
_STARTS, _ROUNDS = 10, 30  # of k-means, which ends in a local optimum


@validated("method.whitening")
class InstanceSelectiveWhitening(nn.Module):
    """Which covariances are style, and the loss that removes them.

    Args:
        weight: Weight of the loss.
        warmup_iterations: Iterations of training before the covariances are chosen; until then the loss is off. The default is 5 passes
            over 2,975 images a source in batches of 4; the published runs wait for 5 epochs.
        images: Training images that each choice looks at.
        trials: Choices; only covariances that all of them choose are whitened.
        clusters: Clusters of the variances; None for 3 with several sources and 50 with one, as published.
        color_jitter: Largest change of brightness, contrast, saturation and hue between the two views of an image.
        whole_matrix: Cluster the variances together with a zero for every entry on and below the diagonal, as the released code does;
            the zeros pull the lowest cluster down, and more covariances count as style.

    Attributes:
        masks: For each place, the chosen covariances, (C, C) bool, upper triangle; empty until they are chosen.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    def __init__(
        self,
        weight: float = 0.6,
        warmup_iterations: Annotated[int, Field(ge=0)] = 3715,
        images: Annotated[int, Field(ge=1)] = 500,
        trials: Annotated[int, Field(ge=1)] = 10,
        clusters: Annotated[int, Field(ge=2)] | None = None,
        color_jitter: Annotated[tuple[float, float, float, float], Strict(False)] = (0.8, 0.8, 0.8, 0.3),
        whole_matrix: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.warmup_iterations, self.images, self.trials = weight, warmup_iterations, images, trials
        self.clusters, self.whole_matrix = clusters, whole_matrix
        self._recolour = v2.Compose([v2.ColorJitter(*color_jitter), v2.GaussianBlur(kernel_size=7, sigma=(0.15, 1.3))])

    @property
    def masks(self) -> list[Tensor]:
        """The chosen covariances of each place, in order."""
        return [mask for name, mask in self.named_buffers() if name.startswith("mask")]

    def loss(self, whitened: Sequence[Tensor]) -> Tensor:
        """Mean over images and places of the mean magnitude of the chosen covariances (RobustNet, eq. 11).

        Args:
            whitened: The instance-normalised maps of each place, `(B, C, h, w)`.

        Returns:
            A scalar >= 0; 0 before the covariances are chosen.
        """
        masks = self.masks
        if not masks:
            return whitened[0].new_zeros(())
        means = []
        for maps, mask in zip(whitened, masks, strict=True):
            chosen = (covariance(maps).abs() * mask).sum(dim=(1, 2))
            means.append(chosen.mean() / mask.sum().clamp(min=1))
        return torch.stack(means).mean()

    @torch.no_grad()
    def choose(self, network: MemorySegmenter, passes: Iterable[Iterable[Tensor]], sources: int) -> None:
        """Find the covariances that a change of colours changes.

        Args:
            network: With `instance_norm=isw`; runs in eval mode, so that its statistics stay as they are.
            passes: For each trial, batches of normalised training images `(B, 3, H, W)`.
            sources: Number of source data sets, which decides the number of clusters.
        """
        clusters = self.clusters or (3 if sources > 1 else 50)
        chosen: list[Tensor] = []
        with evaluation_mode(network):
            for batches in passes:
                masks = [_sensitive(variance, clusters, self.whole_matrix) for variance in self._variances(network, batches)]
                chosen = [old & new for old, new in zip(chosen, masks, strict=True)] if chosen else masks
        for place, mask in enumerate(chosen):
            self.register_buffer(f"mask{place}", mask)

    def _variances(self, network: MemorySegmenter, batches: Iterable[Tensor]) -> list[Tensor]:
        """For each place, the variance of every covariance over the two views of an image, averaged over all ranks' images, `(C, C)`."""
        sums: list[Tensor] = []
        seen = 0
        for images in batches:
            original, recoloured = (network.encode(view).whitened for view in (images, self.recolour(images)))
            # The variance of two values is half their squared difference.
            parts = [((covariance(a) - covariance(b)) ** 2 / 2).double().sum(dim=0) for a, b in zip(original, recoloured, strict=True)]
            sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
            seen += len(images)
            if seen * world_size() >= self.images:
                break
        total = sum_over_ranks([*sums, torch.tensor([seen], device=sums[0].device, dtype=torch.float64)])
        return [part / total[-1] for part in total[:-1]]

    def recolour(self, images: Tensor) -> Tensor:
        """Other colours for normalised images `(B, 3, H, W)`, each its own."""
        mean, std = (
            torch.tensor(values, device=images.device, dtype=images.dtype).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        views = [self._recolour((image * std + mean).clamp(0, 1)) for image in images]
        return (torch.stack(views) - mean) / std

    def make_room(self, state: Mapping[str, Tensor], prefix: str, device: torch.device) -> None:
        """Register the masks that a state dict has, whose number and sizes a fresh object does not know; none before the choice."""
        for name in [name for name, _ in self.named_buffers() if name.startswith("mask") and f"{prefix}{name}" not in state]:
            delattr(self, name)
        for key, value in state.items():
            if key.startswith(f"{prefix}mask"):
                self.register_buffer(key.removeprefix(prefix), torch.zeros_like(value, device=device))


def covariance(maps: Tensor) -> Tensor:
    """Damped covariances `(B, C, C)` between the channels of instance-normalised maps `(B, C, h, w)` (RobustNet, eq. 5)."""
    with torch.autocast(maps.device.type, enabled=False):
        channels = at_least_float32(maps.flatten(2))
        products = channels @ channels.transpose(1, 2) / max(channels.shape[2] - 1, 1)
        return products + _DAMPING * torch.eye(channels.shape[1], device=channels.device, dtype=channels.dtype)


def _sensitive(variance: Tensor, clusters: int, whole_matrix: bool) -> Tensor:
    """The entries above the diagonal that lie outside the lowest cluster, `(C, C)` bool."""
    above = torch.triu(torch.ones_like(variance, dtype=torch.bool), diagonal=1)
    values = (variance * above).flatten() if whole_matrix else variance[above]
    return above & (variance > lowest_cluster(values.double().cpu().numpy(), clusters))


def lowest_cluster(values: np.ndarray, clusters: int) -> float:
    """The largest of the numbers `(N,)` in the lowest k-means cluster, of the best of several seeded starts.

    RobustNet's code clusters exactly; in simulations this chooses 3 % other entries at most.
    """
    clusters = min(clusters, len(np.unique(values)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cluster may become empty, which is another way of having fewer
        found = [kmeans2(values, clusters, iter=_ROUNDS, minit="++", seed=seed) for seed in range(_STARTS)]
    _, labels = min(found, key=lambda result: np.square(values - result[0][result[1]]).sum())
    return float(values[labels == labels[values.argmin()]].max())
