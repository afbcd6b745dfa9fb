"""A memory whose items are a linear classifier, solved in closed form from the features that are written (MetaSegNet, AAAI 2020)."""

import math
from typing import get_args

import torch
from torch import Tensor, nn

from pin_memory.memory import operations, ridge
from pin_memory.memory.base import Reading
from pin_memory.memory.classifier import Classifier, balancing_weights
from pin_memory.utils.distributed import sum_over_ranks
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Positive, Share, validated


@validated("network.memory")
class RidgeMemory(Classifier):
    """The ridge memory: a write is a ridge regression, a read the scores `α (W x + b) + β`.

    The item of a class is its row of W with its b, `(K, C + 1)`. λ, α and β are parameters: they are learned with the features, shared by
    all writes, and stay as they are in a test. Mean-scaled, a penalised bias and the starting values are ours; the paper is silent on them
    as far as it could be read. A soft-max does not see β, which is there as in R2-D2.

    Args:
        num_classes: K.
        channels: C of the features.
        regularisation: λ at the start; `log_lambda` is its logarithm.
        scale: α at the start. The scores of a regression on one-hot targets lie near 0 and 1, on which a soft-max is flat.
        shift: β at the start.
        bias: "none", "penalised" or "free", as in `ridge.solve`.
        mean_scaled: λ weighs against the mean over the labelled pixels rather than their sum.
        double: Sum and solve in float64, for small λ; float32 at least otherwise.
        balance: In a fit, from 0, where classes count by their pixels, to 1, where all count the same: the power of the weights that make
            them so. A regression on one-hot targets gives a class of few pixels scores near 0. Not in a write, which adds moments up.

    Attributes:
        pivot_ratio: Of the newest write or solution: largest pivot over smallest; 1 is best conditioned.

    Raises:
        ConfigurationError: There is no such bias, or a setting is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 19,
        channels: int = 256,
        regularisation: Positive = 1.0,
        scale: float = 10.0,
        shift: float = 0.0,
        bias: str = "penalised",
        mean_scaled: bool = True,
        double: bool = False,
        balance: Share = 0.0,
    ) -> None:
        super().__init__(num_classes, channels, channels + 1)
        if bias not in get_args(ridge.Bias):
            raise ConfigurationError(f"network.memory.bias={bias}: expected one of {', '.join(get_args(ridge.Bias))}.")
        self.bias: ridge.Bias = bias  # type: ignore[assignment]
        self.mean_scaled, self.in_double, self.balance = mean_scaled, double, balance
        self.log_lambda = nn.Parameter(torch.tensor(math.log(regularisation)))
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(shift))
        self.pivot_ratio = torch.ones(())

    @property
    def directions(self) -> Tensor:
        """The weights without the biases, `(K, C)`."""
        return self.items[:, :-1]

    def numbers(self) -> dict[str, Tensor]:
        """What a training logs of it: λ, α and the newest pivot ratio."""
        found = {"lambda": self.log_lambda.detach().exp(), "scale": self.scale.detach(), "pivot_ratio": self.pivot_ratio}
        return {f"ridge/{name}": value for name, value in found.items()}

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """The scores of every cell, which are also what the decoder gets.

        Args:
            features: `(B, C, h, w)`.
            items: `(K, C + 1)`; the stored items by default.
        """
        items = self.items if items is None else items
        with torch.autocast(features.device.type, enabled=False):
            found = self.scale * ridge.scores(operations.at_least_float32(features), items) + self.shift
        return Reading(found, found)

    def write(self, features: Tensor, labels: Tensor, items: Tensor | None = None) -> Tensor:
        """The classifier that fits labelled features, those of all ranks; stores nothing.

        Args:
            features: `(B, C, h, w)`.
            labels: `(B, H, W)` train ids; others are ignored.
            items: Nothing of the memory before stays in it.

        Returns:
            Items `(K, C + 1)`, differentiable with respect to the features and λ. A class without a labelled pixel has zeros.
        """
        return self.solve(ridge.Moments(*sum_over_ranks(self.moments(features, labels))))

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """As `write`, for labelled features of this rank alone; classes count by their pixels and `balance`."""
        weights = None
        if self.balance:
            known = labels[(labels >= 0) & (labels < self.num_classes)]
            counts = known.bincount(minlength=self.num_classes).to(operations.at_least_float32(features).dtype)
            weights = balancing_weights(counts, self.balance)
        return self.solve(self.moments(features, labels, weights))

    def moments(self, features: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> ridge.Moments:
        """What a solution needs of some images of this rank; the sum of several is that of all their images."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.double() if self.in_double else operations.at_least_float32(features)
            return ridge.moments(features, labels, self.num_classes, class_weights)

    def solve(self, found: ridge.Moments) -> Tensor:
        """The items `(K, C + 1)` of these moments; those of several ranks have to be summed before."""
        with torch.autocast(found.gram.device.type, enabled=False):
            weights, bias, self.pivot_ratio = ridge.solve(found, self.log_lambda.exp(), self.bias, self.mean_scaled)
            return torch.cat([weights, bias[None]]).T.to(self.items.dtype)
