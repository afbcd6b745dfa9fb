"""Progressive alignment with text prototypes, and reweighting of the sources by their reliability (after PPAR; Zhang et al., T-ITS 2025).

The paper's ideas and names; its formulas could not be read, so that these are of its relatives or our own. docs/alignment.md says which.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from pin_memory.memory.operations import class_shares_by_area, unit
from pin_memory.methods.losses import cross_entropy
from pin_memory.methods.reweighting import Groups, cosines, of_label, reliability, sample_weights
from pin_memory.methods.schedules import Horizon
from pin_memory.networks.cells import CORNERS, Cells
from pin_memory.utils.distributed import concatenate_over_ranks, rank
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE
from pin_memory.utils.validation import NotNegative, Positive, Range, Share, validated


class Aligned(NamedTuple):
    """What the alignment makes of a pass: loss terms by name and their weighted sum, weights and reliability `(B, h, w)`, cells' labels."""

    terms: dict[str, Tensor]
    total: Tensor
    weights: Tensor | None = None
    reliability: Tensor | None = None
    labels: Tensor | None = None


@validated("method.alignment")
@dataclass(frozen=True)
class TextAlignmentLoss:
    """`λ_o L_o + λ_v ρ(t) L_v + λ_r L_text`, and the weights of the segmentation losses; t is the share of the training that is done.

    Attributes:
        otp: λ_o, weight of the alignment with the original text prototypes; 0 leaves it out.
        vtp: λ_v, weight of that with the visual text prototypes; 0 leaves them out altogether.
        regulariser: λ_r, weight of the loss that keeps each visual text prototype nearest to the text of its class.
        temperature: τ that the cosines of both alignments are divided by.
        curriculum: Align the easy cells of each class first; false: all cells from the beginning.
        first_share: Share of each class's cells at t = 0.
        complete_at: t from which all cells are aligned.
        ramp: t at which ρ leaves 0 and reaches 1: with it the visual text prototypes come in, in the losses and in the reliability.
        majority: A cell is labelled where one class has at least this share of its pixels; None: the nearest label, whatever is around it.
        reweight: What is weighted by its mean reliability, "pixel", "class", "image" or "domain"; None: nothing.
        reliability_temperature: τ_r that the cosines of the reliability are divided by.
        weight_range: Smallest and largest weight of a mean of 1, before they are divided by their mean again.
        horizon: Iterations of the training; in the configurations `trainer.max_steps`, which then has to be above 0.

    Raises:
        ConfigurationError: A value is out of its range, or a reweighting has nothing that learns what is reliable.
    """

    otp: NotNegative = 0.1
    vtp: NotNegative = 0.1
    regulariser: NotNegative = 0.1
    temperature: Positive = 0.07
    curriculum: bool = True
    first_share: Share = 0.3
    complete_at: Share = 0.5
    ramp: Range = (0.25, 0.75)
    majority: Annotated[float, Field(gt=0.5, le=1)] | None = None
    reweight: Groups | None = "pixel"
    reliability_temperature: Positive = 0.5
    weight_range: Range = (0.25, 4.0)
    horizon: Horizon = 40_000

    def __post_init__(self) -> None:
        """Refuse rules between the settings."""
        if self.reweight is not None and not (self.otp or self.vtp):
            raise ConfigurationError(
                f"method.alignment.reweight={self.reweight}: without alignment (otp=0 vtp=0) nothing learns which cells are reliable. Set"
                " method.alignment.reweight=null, or one of the two weights."
            )
        if not 0 < self.weight_range[0] <= 1 <= self.weight_range[1]:
            raise ConfigurationError(f"method.alignment.weight_range={list(self.weight_range)}: expected 0 < smallest <= 1 <= largest.")

    @property
    def is_off(self) -> bool:
        """Whether there is nothing to compute."""
        return not (self.otp or self.vtp or self.reweight)

    def share(self, iteration: int) -> float:
        """q(t), the share of each class's cells that are aligned in an iteration."""
        if not self.curriculum:
            return 1.0
        return self.first_share + (1 - self.first_share) * rise(iteration / self.horizon, 0, self.complete_at)

    def rho(self, iteration: int) -> float:
        """ρ(t), how far the visual text prototypes are in; 0 where there are none."""
        return rise(iteration / self.horizon, *self.ramp) if self.vtp else 0.0

    def of(
        self,
        run: Callable[..., Any],
        features: Tensor,
        text: Tensor,
        labels: Tensor,
        iteration: int,
        domains: Sequence[str] = (),
        grid: Cells = CORNERS,
    ) -> Aligned:
        """Losses and weights of a pass.

        Args:
            run: Runs a stage of the network by name.
            features: `(B, C, h, w)`.
            text: The original text prototypes, unit rows `(K, D)`.
            labels: `(B, H, W)` train ids, 255 ignored.
            iteration: From 0.
            domains: Name of each image's domain, which `reweight="domain"` needs.
            grid: Where the cells lie on the labels.
        """
        projected = run("project", features)
        cells = cell_labels(grid.cover(labels), (projected.shape[2], projected.shape[3]), len(text), self.majority, grid)
        scores = cosines(projected, text)
        share = self.share(iteration)
        easy = cells if share == 1 else torch.where(easy_cells(scores, cells, share), cells, IGNORE)
        terms, total, prototypes = {}, projected.new_zeros(()), text
        if self.otp:
            terms["otp"] = cross_entropy(scores / self.temperature, easy)
            total = total + self.otp * terms["otp"]
        if self.vtp:
            visual, rho = run("visual_text", projected), self.rho(iteration)
            terms["vtp"] = cross_entropy(cosines(projected, visual) / self.temperature, easy)
            total = total + self.vtp * rho * terms["vtp"]
            prototypes = unit((1 - rho) * text + rho * visual, dim=2)
            if self.regulariser:
                terms["regulariser"] = text_loss(visual, text)
                total = total + self.regulariser * terms["regulariser"]
        if self.reweight is None:
            return Aligned(terms, total)
        reliable = reliability(projected, prototypes, cells, self.reliability_temperature)
        return Aligned(terms, total, sample_weights(reliable, cells, len(text), self.reweight, domains, self.weight_range), reliable, cells)


def rise(progress: float, start: float, end: float) -> float:
    """From 0 at `start` to 1 at `end` in a straight line; a step where the two are one."""
    return min(1.0, max(0.0, (progress - start) / (end - start))) if end > start else float(progress >= end)


def cell_labels(labels: Tensor, size: tuple[int, int], num_classes: int, majority: float | None = None, grid: Cells = CORNERS) -> Tensor:
    """Labels `(B, h, w)` of cells: the nearest one, or the class that has at least a share `majority` of the pixels; otherwise 255."""
    if majority is None:
        return grid.nearest(labels, size)
    share, classes = class_shares_by_area(labels, size, num_classes).max(dim=1)
    return torch.where(share >= majority, classes, IGNORE)


@torch.no_grad()
def easy_cells(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """Which cells are aligned: of each class the share of labelled cells, over all ranks, that are nearest to their prototype.

    Args:
        scores: Cosines `(B, K, h, w)`; the difficulty of a cell is 1 minus that of its class.
        labels: `(B, h, w)`, 255 ignored.
        share: In [0, 1], rounded down; a class that is there keeps one cell at least. Of equally difficult cells the first.

    Returns:
        `(B, h, w)` bool.
    """
    number = scores.shape[1]
    classes = torch.where(labels == IGNORE, number, labels).flatten()
    own = slice(rank() * len(classes), (rank() + 1) * len(classes))
    difficulty = concatenate_over_ranks(1 - of_label(scores, labels).flatten())
    classes = concatenate_over_ranks(classes)
    order = difficulty.argsort(stable=True)
    order = order[classes[order].argsort(stable=True)]  # by class, then difficulty, then index
    counts = torch.zeros(number + 1, dtype=torch.int64, device=scores.device).scatter_add_(0, classes, torch.ones_like(classes))
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    place = place - (counts.cumsum(0) - counts)[classes]  # within its class
    kept = (counts.double() * share + 1e-6).floor().clamp(min=1)  # 0.29 * 100 is 28.999...
    chosen = (place < kept[classes]) & (classes < number)
    return chosen[own].view_as(labels)


def text_loss(visual: Tensor, text: Tensor) -> Tensor:
    """Cross entropy of each visual text prototype `(B, K, D)` over the text of all classes `(K, D)`: it has to stay nearest to its own.

    Without temperature, as in tqdm (Pak et al., ECCV 2024).
    """
    with torch.autocast(visual.device.type, enabled=False):
        scores = torch.einsum("bkd,jd->bjk", visual, text)
    return cross_entropy(scores, torch.arange(len(text), device=text.device).expand(len(visual), -1))
