"""The categorical memory: one unit vector per class, held as state, read by every pixel and written by labelled ones."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from pin_memory.memory import operations
from pin_memory.memory.base import Memory, Reading
from pin_memory.utils.distributed import sum_over_ranks
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Share, validated

_SHARES = {"bilinear": operations.class_shares, "area": operations.class_shares_by_area}


class MemoryUpdate(nn.Module):
    """The memory update network U: a residual 1x1 convolution, `relu(F + bn(conv(F)))`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `(B, C, h, w)` to vectors of the same shape that prototypes are pooled from."""
        return torch.relu(features + self.norm(self.conv(features)))


@validated("network.memory")
class CategoricalMemory(Memory):
    """Memory M with its update network U, read fusion and classifier G (Pin the Memory, section 3).

    Args:
        num_classes: K, number of items.
        channels: C, length of an item and of the features.
        momentum: λ of the write, in [0, 1].
        gumbel: Sample the read weights with Gumbel noise while training, as the released code does.
        gumbel_in_evaluation: Sample them in evaluation, too, as the released evaluation does: predictions then differ from run to run.
        shares: How the label map shrinks to class shares of feature cells: "bilinear" as released, which looks at four pixels of a cell
            and misses thin classes, or "area", which counts all of them.
        read_temperature: The similarities are divided by it before the soft-max of a read; 1 as released, smaller reads more sharply.
        anchor_weight: ρ of a write, which keeps the items near to text in their frame (ours); what starts the memory sets the anchor.

    Attributes:
        anchor: `(K, C)`, unit rows, zeros until it is set; None with a weight of 0.

    Raises:
        ConfigurationError: Other `shares`, a temperature that is not above 0, or weights of a write above 1 together.
    """

    anchor: Tensor | None

    training_only: ClassVar[tuple[str, ...]] = ("update", "classifier", "anchor")

    def __init__(
        self,
        num_classes: int = 19,
        channels: int = 256,
        momentum: Share = 0.8,
        gumbel: bool = True,
        gumbel_in_evaluation: bool = False,
        shares: str = "bilinear",
        read_temperature: Annotated[float, Field(gt=0)] = 1.0,
        anchor_weight: Share = 0.0,
    ) -> None:
        super().__init__()
        if shares not in _SHARES:
            raise ConfigurationError(f"network.memory.shares={shares}: expected one of {', '.join(_SHARES)}.")
        if momentum + anchor_weight > 1:
            raise ConfigurationError(
                f"network.memory.momentum={momentum} and network.memory.anchor_weight={anchor_weight} leave nothing of a write to what is"
                " seen: expected 1 at most together."
            )
        self.gumbel_in_evaluation, self.shares, self.read_temperature = gumbel_in_evaluation, shares, read_temperature
        self.num_classes, self.channels, self.outputs = num_classes, channels, channels
        self.momentum, self.anchor_weight, self.gumbel = momentum, anchor_weight, gumbel
        self.update = MemoryUpdate(channels)
        self.fusion = nn.Sequential(nn.Conv2d(2 * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=1e-4)
        nn.init.zeros_(self.classifier.bias)
        self.register_buffer("items", torch.zeros(num_classes, channels))
        self.register_buffer("anchor", torch.zeros(num_classes, channels) if anchor_weight else None)

    def read(self, features: Tensor, items: Tensor | None = None) -> Reading:
        """Enrich every feature cell with the class knowledge nearest to it (eq. 1-3).

        Args:
            features: `(B, C, h, w)`.
            items: `(K, C)`; the stored items by default.
        """
        items = self.items if items is None else items
        noisy = self.gumbel if self.training else self.gumbel_in_evaluation
        with torch.autocast(features.device.type, enabled=False):  # cosines of near-parallel items differ by less than bfloat16 tells
            queries = operations.unit(operations.at_least_float32(features))
            scores = operations.similarity(queries, items)
            mixed = operations.read_out(scores, items, noisy, self.read_temperature)
        return Reading(self.fusion(torch.cat([queries, mixed], dim=1).to(features.dtype)), scores)

    def write(self, features: Tensor, labels: Tensor, items: Tensor | None = None) -> Tensor:
        """The memory after seeing labelled features (eq. 4-5); stores nothing.

        Args:
            features: `(B, C, h, w)`.
            labels: `(B, H, W)` train ids, 255 ignored.
            items: The memory before, `(K, C)`; the stored items by default. Constant in the gradient.

        Returns:
            New items `(K, C)`, differentiable with respect to the features and the update network.
        """
        items = self.items if items is None else items
        with torch.autocast(features.device.type, enabled=False):
            vectors = operations.unit(self.update(operations.at_least_float32(features)))
            sums, totals = sum_over_ranks(self.class_sums(vectors, labels))  # one memory for all ranks, written from all their images
            return operations.momentum_write(items, sums, totals, self.momentum, self.anchor, self.anchor_weight)

    def class_sums(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Share-weighted sums `(K, C)` and shares `(K,)` of each class over unit vectors `(B, C, h, w)` with labels `(B, H, W)`."""
        shares = _SHARES[self.shares](labels, (vectors.shape[2], vectors.shape[3]), self.num_classes, vectors.dtype)
        return operations.class_sums(vectors, shares)

    def classify(self, items: Tensor) -> Tensor:
        """Class logits `(K, K)` of the items `(K, C)` by the memory classifier G."""
        return self.classifier(items)
