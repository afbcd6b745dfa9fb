"""Confusion matrix of one domain, and the IoU that follows from it."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from pin_memory.utils.labels import CLASSES, IGNORE


class DomainConfusion(MulticlassConfusionMatrix):
    """Pixel counts accumulated over a data set: rows are the ground truth, columns the prediction.

    The counts are int64, so they are exact for any number of images, and are summed over the ranks. Pixels whose label is
    `ignore_index` are not counted.

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of the pixels that are not counted.

    Example:
        >>> confusion = DomainConfusion(num_classes=2)
        >>> confusion.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 0, 255]]]))
        >>> confusion.compute()
        tensor([[1, 1],
                [0, 0]])
    """

    def __init__(self, num_classes: int = len(CLASSES), ignore_index: int = IGNORE) -> None:
        super().__init__(num_classes=num_classes, ignore_index=ignore_index, validate_args=False)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count the pixels of one batch.

        Args:
            prediction: Train ids 0..K-1, (B, H, W) of any integer type.
            label: Train ids 0..K-1 or `ignore_index`, (B, H, W).

        Raises:
            ValueError: The two differ in shape, or a label is no class.
        """
        self.confmat += confusion_counts(prediction, label, self.num_classes, self.ignore_index)  # type: ignore[arg-type]  # not None


def confusion_counts(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int = IGNORE) -> Tensor:
    """Count the pixels of each pair of label and prediction, (K, K) int64; rows are the ground truth. As `DomainConfusion.update`."""
    if prediction.shape != label.shape:
        raise ValueError(f"Prediction {tuple(prediction.shape)} and label {tuple(label.shape)} must have the same shape.")
    # Not torchmetrics' own counting: in deterministic mode it builds a (pixels, K * K) table, gigabytes per image. Bin 0 is ignored.
    bins = 1 + num_classes**2
    pairs = torch.where(label != ignore_index, label.long() * num_classes + prediction.long() + 1, 0)
    counts = torch.bincount(pairs.flatten(), minlength=bins)
    if len(counts) > bins:
        raise ValueError(f"A label is out of bounds: expected train ids 0..{num_classes - 1} or {ignore_index}.")
    return counts[1:].view(num_classes, num_classes)


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of every class, TP / (TP + FP + FN), over all the pixels counted.

    Args:
        confusion: Counts (K, K); rows are the ground truth.

    Returns:
        Fractions (K,) float64; NaN for a class that has no ground truth, however often it was predicted.

    Example:
        >>> class_iou(torch.tensor([[3, 1], [0, 0]]))
        tensor([0.7500,    nan], dtype=torch.float64)
    """
    counts = confusion.cpu().double()  # not every device has double precision, and whoever asks waits anyway
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    iou = hits / (truth + predicted - hits)
    return iou.masked_fill(truth == 0, torch.nan)


def mean_iou(iou: Tensor) -> float:
    """Mean over the classes that have ground truth (those that are not NaN); NaN when none has.

    Args:
        iou: Fractions (K,), as `class_iou` returns them.
    """
    return float(iou.nanmean())
