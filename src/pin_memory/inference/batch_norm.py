"""What batch norm normalises by in evaluation: the running statistics of training, or those of the images at hand.

A network trained on single domains at a time meets, at test time, one running mixture of them all. Normalising by the statistics of the
target image instead needs no label and no training (arXiv 2003.12296), but makes the prediction depend on the images it is made together
with, so it is off by default and recorded with every result.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pin_memory.utils.errors import ConfigurationError

POLICIES = ("running", "image", "batch")


@dataclass(frozen=True)
class TestStatistics:
    """A policy of batch norm in evaluation.

    Attributes:
        policy: "running", those of training; "image", those of each image by itself; "batch", those of the images that are predicted
            together (`loading.evaluation_batch_size`).
        share: Weight of the images' own statistics in a blend with the running ones, 0..1.
    """

    __test__ = False  # no test, whatever its name

    policy: str = "running"
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: There is no such policy, or the share is outside of 0..1.
        """
        if self.policy not in POLICIES or not 0 <= self.share <= 1:
            raise ConfigurationError(
                f"test_statistics: expected a policy of {', '.join(POLICIES)} and a share in 0..1, found {self.policy} and {self.share}."
            )

    def __str__(self) -> str:
        """How it is recorded."""
        return self.policy if self.policy == "running" or self.share == 1 else f"{self.policy}, share {self.share:g}"

    def groups(self, images: Tensor) -> list[Tensor]:
        """The images `(B, 3, H, W)` in the groups that are normalised together."""
        return list(images.split(1)) if self.policy == "image" else [images]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Normalise by this policy within the block; running statistics do not move.

        Args:
            network: In eval mode.
        """
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if self.policy != "running" else []
        try:
            for norm in norms:
                norm.forward = _Blended(norm, self.share)  # type: ignore[assignment, method-assign]
            yield
        finally:
            for norm in norms:
                del norm.forward


RUNNING = TestStatistics()
"""The statistics of training, the default."""


class _Blended:
    """Batch norm by a blend of running statistics and those of its input."""

    def __init__(self, norm: _BatchNorm, share: float) -> None:
        self.norm, self.share = norm, share

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, ...)`; a single value per channel has no variance and goes by the running statistics."""
        norm = self.norm
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        if x.numel() > x.shape[1]:
            axes = [axis for axis in range(x.ndim) if axis != 1]
            values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            own_variance, own_mean = torch.var_mean(values, dim=axes, correction=0)
            # Evaluation only: no gradient is taken through the statistics.
            mean = torch.lerp(mean.to(own_mean), own_mean.detach(), self.share)
            variance = torch.lerp(variance.to(own_variance), own_variance.detach(), self.share)
        return F.batch_norm(x, mean, variance, norm.weight, norm.bias, training=False, eps=norm.eps)
