"""What batch norm normalises by in evaluation: the running statistics of training, or those of the images at hand.

A network trained on single domains at a time meets, at test time, one running mixture of them all. Normalising by the statistics of the
target image instead needs no label and no training (arXiv 2003.12296), but makes the prediction depend on the images it is made together
with, so it is off by default and recorded with every result.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from pin_memory.memory.operations import at_least_float32
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Share, validated


@validated("test_statistics")
@dataclass(frozen=True)
class BatchNormStatistics:
    """A policy of batch norm in evaluation.

    Attributes:
        policy: "running", those of training; "image", those of each image by itself; "batch", those of the images that are predicted
            together (`loading.evaluation_batch_size`).
        share: Weight of the images' own statistics in a blend with the running ones, 0..1.

    Raises:
        ConfigurationError: There is no such policy, or the share is outside of 0..1.
    """

    policy: Literal["running", "image", "batch"] = "running"
    share: Share = 1.0

    @classmethod
    def from_setting(cls, test_statistics: str | Mapping[str, Any]) -> Self:
        """The policy of a setting `test_statistics=image` or `test_statistics={policy: image, share: 0.5}`."""
        return cls(**({"policy": test_statistics} if isinstance(test_statistics, str) else dict(test_statistics)))

    def __str__(self) -> str:
        """The name in results."""
        return self.policy if self.policy == "running" or self.share == 1 else f"{self.policy}, share {self.share:g}"

    def check(self, network: nn.Module) -> None:
        """Refuse another policy than that of training for a network without batch norm, where it would do nothing."""
        if self.policy != "running" and not has_batch_norm(network):
            raise ConfigurationError(
                f"test_statistics={self}: this network has no batch norm, and nothing to normalise otherwise. Leave it out."
            )

    def groups(self, images: Tensor) -> list[Tensor]:
        """Split images `(B, 3, H, W)` into the groups that are normalised together."""
        return list(images.split(1)) if self.policy == "image" else [images]

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Normalise by this policy within the block, in this thread only; running statistics do not move.

        Of nested blocks the innermost one counts, except that "running" changes nothing.

        Args:
            network: In eval mode.

        Raises:
            ConfigurationError: The network has no batch norm.
        """
        self.check(network)
        if self.policy == "running":
            yield
            return
        with _BlendedBatchNorm(network, self.share):
            yield


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network, or a part of one, normalises by statistics of batches."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


RUNNING = BatchNormStatistics()
"""The statistics of training, the default."""


class _BlendedBatchNorm(TorchFunctionMode):
    """Gives `F.batch_norm` a blend of the running statistics of a network and those of its input.

    PyTorch keeps such modes on a stack in every thread, so blocks can be nested and threads do not see each other's.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__()
        self.share = share
        self.running_means = {id(norm.running_mean) for norm in network.modules() if isinstance(norm, _BatchNorm)}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call a function of PyTorch, batch norm of the network with blended statistics."""
        if func is F.batch_norm and id(args[1]) in self.running_means:
            x, mean, variance = args
            args = (x, *self._blend(x, mean, variance))
        return func(*args, **(kwargs or {}))

    def _blend(self, x: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance `(C,)` for `(B, C, ...)`; a single value per channel has no variance and leaves the running statistics."""
        if x.numel() == x.shape[1]:
            return mean, variance
        own_variance, own_mean = torch.var_mean(at_least_float32(x), dim=[axis for axis in range(x.ndim) if axis != 1], correction=0)
        # Evaluation only: no gradient is taken through the statistics.
        mean = torch.lerp(mean.to(own_mean), own_mean.detach(), self.share)
        return mean, torch.lerp(variance.to(own_variance), own_variance.detach(), self.share)
