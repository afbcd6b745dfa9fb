"""Confusion matrices, per-class IoU, mean IoU, and the floors that a trained network has to beat."""

from pin_memory.metrics.confusion import DomainConfusion, class_iou, mean_iou
from pin_memory.metrics.label_prior import LabelPrior

__all__ = ["DomainConfusion", "LabelPrior", "class_iou", "mean_iou"]
