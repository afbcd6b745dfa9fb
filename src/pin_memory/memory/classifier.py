"""Memories whose items are a classifier that is fitted to labelled features: the heads of few-shot segmentation."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pin_memory.memory import operations, ridge
from pin_memory.memory.base import Memory, Reading
from pin_memory.utils.validation import Count, NotNegative, Positive, Share, validated


class Classifier(Memory):
    """A memory of which a read gives the scores of the classes, from items that are fitted to some labelled features.

    Nothing that it learns belongs to a class, so it can be given another number of classes.
    """

    measure: ClassVar[str] = "score"

    def __init__(self, num_classes: int, channels: int, item_length: int) -> None:
        super().__init__()
        self.num_classes, self.channels, self.outputs = num_classes, channels, num_classes
        self.register_buffer("items", torch.zeros(num_classes, item_length))

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """The items that fit features `(B, C, h, w)` with labels `(B, H, W)`, those of this rank alone; stores nothing.

        Every pixel counts: features are enlarged to label size by nearest neighbour, in effect.
        """
        raise NotImplementedError

    def resize(self, num_classes: int) -> None:
        """Have so many classes from now on; the items are forgotten."""
        self.num_classes = self.outputs = num_classes
        self.items = self.items.new_zeros(num_classes, self.items.shape[1])


def balancing_weights(counts: Tensor, power: float) -> Tensor:
    """Powers of the weights of the classes with which all that have pixels count the same, and together as before; of counts `(K,)`."""
    present = (counts > 0).sum().clamp(min=1)
    return (counts.sum() / (present * counts.clamp(min=1))) ** power


@validated("network.memory")
class PrototypeMemory(Classifier):
    """Masked average pooling and cosine similarity, as PANet (Wang et al., ICCV 2019): nothing is learned here.

    The item of a class is the mean of its features in each image, averaged over the images that show it; that of a class without a
    labelled pixel is zero, and so are its scores.

    Args:
        num_classes: K.
        channels: C of the features.
        scale: On the cosines, 20 as published.
    """

    def __init__(self, num_classes: int = 2, channels: int = 256, scale: Positive = 20.0) -> None:
        super().__init__(num_classes, channels, channels)
        self.scale = scale

    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """The prototypes `(K, C)`, differentiable with respect to the features."""
        with torch.autocast(features.device.type, enabled=False):
            features = operations.at_least_float32(features)
            size = (features.shape[2], features.shape[3])
            counts = operations.pixel_counts(labels, size, self.num_classes, features.dtype)[:, : self.num_classes]
            totals = counts.sum(dim=(2, 3))  # (B, K)
            means = torch.einsum("bkhw,bchw->bkc", counts, features) / totals.clamp(min=1)[..., None]
            return means.sum(dim=0) / (totals > 0).sum(dim=0).clamp(min=1)[:, None]

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """Scaled cosines of every cell, by items `(K, C)`; the stored ones by default."""
        items = self.items if items is None else items
        with torch.autocast(features.device.type, enabled=False):
            queries = operations.unit(operations.at_least_float32(features))
            found = self.scale * operations.similarity(queries, F.normalize(items, dim=1))
        return Reading(found, found)


@validated("network.memory")
class LinearMemory(Classifier):
    """A linear classifier that is fitted by gradient descent on the cross entropy; the features it is fitted to get no gradient.

    Args:
        num_classes: K.
        channels: C of the features.
        steps: Of gradient descent on all labelled pixels at once, from zero.
        rate: Of the steps, over the mean square length of the features, so that one rate fits any; above 4 they may diverge.
        momentum: Of the steps.
        weight_decay: On the weights, not the biases.
        balance: As in `RidgeMemory`.
    """

    def __init__(
        self,
        num_classes: int = 2,
        channels: int = 256,
        steps: Count = 100,
        rate: Positive = 1.0,
        momentum: Share = 0.9,
        weight_decay: NotNegative = 1e-3,
        balance: Share = 0.0,
    ) -> None:
        super().__init__(num_classes, channels, channels + 1)
        self.balance = balance
        self.steps, self.rate, self.momentum, self.weight_decay = steps, rate, momentum, weight_decay

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> Tensor:
        """Weights and biases `(K, C + 1)`, a constant."""
        with torch.autocast(features.device.type, enabled=False):
            features = operations.at_least_float32(features)
            x = torch.cat([features, torch.ones_like(features[:, :1])], dim=1).permute(0, 2, 3, 1).flatten(0, 2)  # (n, C + 1)
            size = (features.shape[2], features.shape[3])
            counts = operations.pixel_counts(labels, size, self.num_classes, features.dtype)[:, : self.num_classes]
            targets = counts.permute(0, 2, 3, 1).flatten(0, 2)  # (n, K)
            if self.balance:
                targets = targets * balancing_weights(targets.sum(dim=0), self.balance)
            targets = targets / targets.sum().clamp(min=1)
            weights = targets.sum(dim=1, keepdim=True)
            rate = self.rate / (weights * x.square()).sum().clamp(min=1e-12)
            items, velocity = x.new_zeros(self.num_classes, x.shape[1]), x.new_zeros(self.num_classes, x.shape[1])
            decay = items.new_full((x.shape[1],), self.weight_decay)
            decay[-1] = 0
            for _ in range(self.steps):
                gradient = (weights * (x @ items.T).softmax(dim=1) - targets).T @ x + decay * items
                velocity = self.momentum * velocity + gradient
                items = items - rate * velocity
            return items

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """The scores of every cell, by items `(K, C + 1)`; the stored ones by default."""
        items = self.items if items is None else items
        with torch.autocast(features.device.type, enabled=False):
            found = ridge.scores(operations.at_least_float32(features), items)
        return Reading(found, found)
