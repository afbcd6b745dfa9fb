"""Whether a network is right as often as it says: its confidence next to its accuracy, domain by domain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pin_memory.analysis.style import OKABE_ITO, TWO_COLUMNS, new_figure, styled
from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods.batches import evaluation_mode
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.labels import IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 15
"""Intervals of equal width that confidences from 0 to 1 are counted in, as in Guo et al. (ICML 2017)."""


@dataclass(frozen=True)
class Calibration:
    """Labelled pixels by the probability of the predicted class, in `BINS` intervals."""

    pixels: np.ndarray  # (BINS,) int64
    confidence: np.ndarray  # (BINS,) mean probability of the predicted class, NaN where there is no pixel
    accuracy: np.ndarray  # (BINS,) share of pixels that are predicted right, NaN where there is no pixel

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1: the mean of |accuracy - confidence| over the pixels, interval by interval."""
        return self._mean(np.abs(self.accuracy - self.confidence))

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy, -1..1; above 0 the network promises more than it keeps."""
        return self._mean(self.confidence - self.accuracy)

    def _mean(self, values: np.ndarray) -> float:
        """The mean of a value of the intervals over the pixels; NaN without pixels."""
        known = self.pixels > 0
        return float(np.average(values[known], weights=self.pixels[known])) if known.any() else float("nan")


@torch.inference_mode()
def calibration(
    network: MemorySegmenter, batches: Iterable[Mapping[str, Any]], protocol: Protocol = WHOLE, statistics: BatchNormStatistics = RUNNING
) -> Calibration:
    """Compare confidence and accuracy on labelled images; arguments as of `confusion_matrix`.

    Example:
        `calibration(subject.network, subject.targets["cityscapes"]).error`
    """
    device = next(network.parameters()).device
    sums = torch.zeros(3, BINS, dtype=torch.float64)
    with evaluation_mode(network):
        for batch in batches:
            label = batch["label"].to(device)
            size = (label.shape[-2], label.shape[-1])
            sums += _sums(protocol.probabilities(network, batch["image"].to(device), size, statistics), label).cpu()
    pixels, confidence, right = sums.numpy()
    total = np.where(pixels > 0, pixels, np.nan)
    return Calibration(pixels.astype(np.int64), confidence / total, right / total)


def _sums(probabilities: Tensor, label: Tensor) -> Tensor:
    """Pixels, their confidences and those that are right, `(3, BINS)` float64, of probabilities `(B, K, H, W)` and labels `(B, H, W)`."""
    confidence, predicted = probabilities.max(dim=1)
    valid = label != IGNORE
    confidence, right = confidence[valid].double(), (predicted == label)[valid].double()
    place = (confidence * BINS).long().clamp_(0, BINS - 1)  # NaN has a place, too, and makes the error NaN
    values = torch.stack([torch.ones_like(confidence), confidence, right])
    return torch.zeros(3, BINS, dtype=torch.float64, device=label.device).index_add_(1, place, values)


@styled
def plot_calibration(domains: Mapping[str, Calibration], title: str = "") -> "Figure":
    """Draw accuracy over confidence, a line for each domain; on the diagonal a network is right as often as it says.

    Args:
        domains: From `calibration`, by the name in the legend.
        title: Above everything.
    """
    figure = new_figure(TWO_COLUMNS * 0.72, 3.2, title)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    for number, (name, found) in enumerate(domains.items()):
        known = found.pixels > 0
        style: Any = {"color": OKABE_ITO[number % len(OKABE_ITO)], "marker": "o", "markersize": 3, "linewidth": 1}
        label = f"{name}: error {100 * found.error:.1f} %" if known.any() else f"{name}: no labelled pixel"
        axes.plot(found.confidence[known], found.accuracy[known], label=label, **style)
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="probability of the predicted class", ylabel="share of pixels predicted right", aspect="equal"
    )
    figure.legend(loc="outside right center")
    return figure
