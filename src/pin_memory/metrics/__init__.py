"""Confusion matrices, per-class IoU, mean IoU, the scores of few-shot episodes, and the floors that a trained network has to beat."""

from pin_memory.metrics.confusion import DomainConfusion, class_iou, mean_iou
from pin_memory.metrics.episodes import EpisodeScores
from pin_memory.metrics.label_prior import LabelPrior

__all__ = ["DomainConfusion", "EpisodeScores", "LabelPrior", "class_iou", "mean_iou"]
