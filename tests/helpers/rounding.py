"""How far single precision may be from double: what rounding alone does to a computation, the same on every processor.

The distance of a float32 run to a float64 run depends on the processor (vector lengths, fused multiply-adds, the order of sums), so no run
on one machine can tell what another one may do. It is made of two parts, which are compared one by one:

- **Kinks.** Where a ReLU's input is zero but for round-off, either side is right, and the gradient jumps by 1e-2 or so in small maps. The
  float64 run's sides are imposed on every other run, which then is smooth; a side that is overruled must have been within round-off.
- **Conditioning.** The float64 computation is repeated with every stored number rounded to float32. What that changes is the unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FACTOR = 100
"""A float32 run may be so many times as far from float64 as the repetition with rounded numbers is, whose sums are exact."""
HALF_UNIT = 2.0**-24
"""The rounding of the result itself, relative: the least unit."""
ROUND_OFF_AT_A_KINK = 0.05
"""A side that differs from float64's may be so far beyond the kink, over the root mean square of all inputs there."""

_RELU, _POOL = torch.ops.aten.relu, torch.ops.aten.max_pool2d_with_indices


class Rounded(TorchDispatchMode):
    """Rounds the float64 results of every operation, forward and backward, to float32; sums within an operation stay exact."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and round what it stored; a view stores nothing."""
        out = func(*args, **(kwargs or {}))
        if any(result.alias_info is not None and not result.alias_info.is_write for result in func._schema.returns):
            return out
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.dtype == torch.float64:
                leaf.copy_(leaf.float())
        return out


class Kinks(TorchDispatchMode):
    """Keeps the side that every ReLU and every max pooling takes, or imposes those of an earlier run of the same operations.

    Args:
        imposed: `sides` of the run to follow; None records.

    Attributes:
        sides: By call, where a ReLU is open or which value is the largest.
        furthest: The largest distance beyond a kink that was overruled, over the root mean square of the inputs there.
    """

    def __init__(self, imposed: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.imposed, self.sides, self.furthest = imposed, [], 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, with the sides of the earlier run if there is one."""
        if func in (_RELU.default, _RELU_IN_PLACE):
            result = self._relu(args[0])
            return args[0].copy_(result) if func is _RELU_IN_PLACE else result
        if func is _POOL.default:
            return self._pool(args[0], *func(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))

    def _relu(self, x: Tensor) -> Tensor:
        """The rectified input; where the other side is imposed, a number that is zero but lets the gradient through."""
        is_open = self._side(x > 0)
        self._note(x[is_open != (x > 0)].abs(), x)
        return torch.where(is_open, x.clamp(min=1e-30), 0)

    def _pool(self, x: Tensor, values: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """The values at the imposed places, in the pooled values' memory format."""
        places = self._side(places)
        chosen = x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        self._note(values - chosen, values)
        return values.copy_(chosen), places

    def _side(self, own: Tensor) -> Tensor:
        """The imposed side of this call, or the own one."""
        self.sides.append(own if self.imposed is None else self.imposed[len(self.sides)])
        return self.sides[-1]

    def _note(self, beyond: Tensor, x: Tensor) -> None:
        """Keep the largest distance."""
        if beyond.numel():
            self.furthest = max(self.furthest, float(beyond.max() / x.double().square().mean().sqrt().clamp(min=1e-30)))


_RELU_IN_PLACE = torch.ops.aten.relu_.default


@contextmanager
def rounded(sides: Sequence[Tensor]) -> Iterator[None]:
    """Run float64 operations with rounded results and imposed sides."""
    with Rounded(), Kinks(sides):
        yield


def last_bits(images: Tensor, seed: int) -> Tensor:
    """The float32 images with each value moved to a neighbouring one, up or down at random: other roundings all the way."""
    up = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return torch.nextafter(images, torch.where(up, torch.inf, -torch.inf))


def distances(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """The norm of each tensor's difference to float64."""
    return {name: float((found[name].detach().double() - target.detach()).norm()) for name, target in exact.items()}


def units(rounded_runs: Sequence[Mapping[str, float]], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """Each tensor's unit of distance: the root mean square over repetitions with rounded numbers, half an ulp at least."""
    spread = {name: (sum(run[name] ** 2 for run in rounded_runs) / len(rounded_runs)) ** 0.5 for name in exact}
    return {name: max(spread[name], HALF_UNIT * float(target.norm())) for name, target in exact.items()}
