"""Instance selective whitening (RobustNet; Choi, Jung, Yun, Kim, Kim, Choo, CVPR 2021).

Covariances between channels that change when only the colours of a picture change carry its style. They are found once, after a warm-up,
and pushed to zero from then on.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from pin_memory.methods.batches import evaluation_mode
from pin_memory.methods.clusters import lowest_cluster
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import sum_over_ranks, world_size
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD

_DAMPING = 1e-5


class InstanceSelectiveWhitening(nn.Module):
    """Which covariances are style, and the loss that removes them.

    Args:
        weight: Weight of the loss.
        warmup_epochs: Epochs of training before the covariances are chosen; until then the loss is off.
        images: Training images that each choice looks at.
        trials: Choices; only covariances that all of them choose are whitened.
        clusters: Clusters of the variances; None for 3 with several sources and 50 with one, as published.
        color_jitter: Largest change of brightness, contrast, saturation and hue between the two views of an image.
        whole_matrix: Cluster the variances together with a zero for every entry on and below the diagonal, as the released code does;
            the zeros pull the lowest cluster down, and more covariances count as style.

    Attributes:
        masks: For each place, the chosen covariances, (C, C) bool, upper triangle; empty until they are chosen.
    """

    def __init__(
        self,
        weight: float = 0.6,
        warmup_epochs: int = 5,
        images: int = 500,
        trials: int = 10,
        clusters: int | None = None,
        color_jitter: Sequence[float] = (0.8, 0.8, 0.8, 0.3),
        whole_matrix: bool = False,
    ) -> None:
        super().__init__()
        if images < 1 or trials < 1 or warmup_epochs < 0 or (clusters is not None and clusters < 2):
            raise ConfigurationError(
                f"whitening: expected images and trials of at least 1, warmup_epochs of at least 0 and clusters of at least 2;"
                f" found {images}, {trials}, {warmup_epochs} and {clusters}."
            )
        self.weight, self.warmup_epochs, self.images, self.trials, self.clusters = weight, warmup_epochs, images, trials, clusters
        self.whole_matrix = whole_matrix
        blur = v2.GaussianBlur(kernel_size=7, sigma=(0.15, 1.3))
        self._recolour = v2.Compose([v2.ColorJitter(*color_jitter), blur])

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
                variances = self._variances(network, batches)
                masks = [_sensitive(variance, clusters, self.whole_matrix) for variance in variances]
                chosen = [old & new for old, new in zip(chosen, masks, strict=True)] if chosen else masks
        for place, mask in enumerate(chosen):
            self.register_buffer(f"mask{place}", mask)

    def _variances(self, network: MemorySegmenter, batches: Iterable[Tensor]) -> list[Tensor]:
        """For each place, the variance of every covariance over the two views of an image, averaged over all ranks' images, `(C, C)`."""
        sums: list[Tensor] = []
        seen = 0
        for images in batches:
            plain, recoloured = (network.encode(view).whitened for view in (images, self.recolour(images)))
            # The variance of two values is half their squared difference.
            parts = [((covariance(a) - covariance(b)) ** 2 / 2).double().sum(dim=0) for a, b in zip(plain, recoloured, strict=True)]
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

    def make_room(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Have the masks that a state dict has, whose number and sizes a fresh object does not know; none before the choice."""
        for name in [name for name, _ in self.named_buffers() if name.startswith("mask") and f"{prefix}{name}" not in state]:
            delattr(self, name)
        for key, value in state.items():
            if key.startswith(f"{prefix}mask"):
                self.register_buffer(key.removeprefix(prefix), torch.zeros_like(value))


def covariance(maps: Tensor) -> Tensor:
    """Covariances between the channels of instance-normalised maps, damped (RobustNet, eq. 5).

    Args:
        maps: `(B, C, h, w)`.

    Returns:
        `(B, C, C)` in the precision of the maps, float32 at least.
    """
    with torch.autocast(maps.device.type, enabled=False):
        flat = maps.flatten(2)
        flat = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
        products = flat @ flat.transpose(1, 2) / max(flat.shape[2] - 1, 1)
        return products + _DAMPING * torch.eye(flat.shape[1], device=flat.device, dtype=flat.dtype)


def _sensitive(variance: Tensor, clusters: int, whole_matrix: bool) -> Tensor:
    """The entries above the diagonal that lie outside the lowest cluster, `(C, C)` bool."""
    above = torch.triu(torch.ones_like(variance, dtype=torch.bool), diagonal=1)
    values = (variance * above).flatten() if whole_matrix else variance[above]
    lowest = lowest_cluster(values.cpu().numpy(), clusters)
    return above & (variance > lowest)
