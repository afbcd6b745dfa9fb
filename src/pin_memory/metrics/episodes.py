"""Scores of few-shot segmentation: pixel counts of all episodes added up by class, and the means that publications take of them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from pin_memory.metrics.confusion import class_iou, confusion_counts, mean_iou


class EpisodeScores(Metric):
    """Pixel counts of episodes by absolute class, pooled over all of them and summed over the ranks.

    An episode's labels are 0 for the background and 1..K for its classes; its row says which absolute classes these are.

    Args:
        classes: Train ids of the classes that are tested: those of the fold.

    Raises:
        ValueError: `update` gets shapes or classes that do not fit.

    Example:
        >>> scores = EpisodeScores([7, 9])
        >>> scores.update(torch.tensor([[[[1, 1, 0, 0]]]]), torch.tensor([[[[1, 0, 0, 0]]]]), torch.tensor([[9]]))
        >>> scores.compute()["miou"]
        0.5
    """

    higher_is_better = True
    full_state_update = False
    # By class, and last of the background, (F + 1,) int64; `foreground` is the confusion of background and all classes as one, (2, 2).
    hits: Tensor
    truth: Tensor
    predicted: Tensor
    predicted_where_shown: Tensor  # on queries that show the class
    foreground: Tensor

    def __init__(self, classes: Sequence[int]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        for name in ("hits", "truth", "predicted", "predicted_where_shown"):
            self.add_state(name, torch.zeros(len(self.classes) + 1, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("foreground", torch.zeros(2, 2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor, classes: Tensor) -> None:
        """Count the pixels of the queries of episodes.

        Args:
            prediction: 0..K, (E, Q, H, W) of any integer type.
            label: 0..K or 255, (E, Q, H, W).
            classes: Train ids of each episode's classes, (E, K).
        """
        if prediction.shape != label.shape or len(prediction) != len(classes):
            raise ValueError(f"Prediction {tuple(prediction.shape)}, label {tuple(label.shape)} and classes {tuple(classes.shape)} differ.")
        for episode, truth, own in zip(prediction, label, classes.tolist(), strict=True):
            if unknown := [train_id for train_id in own if train_id not in self.classes]:
                raise ValueError(f"An episode has the classes {unknown}; expected some of {self.classes}.")
            places = [len(self.classes), *(self.classes.index(train_id) for train_id in own)]
            for query, query_truth in zip(episode, truth, strict=True):
                self._count(query, query_truth, places)

    def _count(self, prediction: Tensor, label: Tensor, places: list[int]) -> None:
        """Add the counts of one query (H, W); `places` are those of its labels 0..K among the counts."""
        counts, at = confusion_counts(prediction, label, len(places)), torch.tensor(places, device=self.device)
        truth, predicted = counts.sum(1), counts.sum(0)
        self.hits[at] += counts.diagonal()
        self.truth[at] += truth
        self.predicted[at] += predicted
        self.predicted_where_shown[at] += torch.where(truth > 0, predicted, 0)
        self.foreground += torch.stack([
            torch.stack([counts[0, 0], counts[0, 1:].sum()]), torch.stack([counts[1:, 0].sum(), counts[1:, 1:].sum()])
        ])  # fmt: skip

    def iou(self, only_where_shown: bool = False) -> Tensor:
        """IoU of each class in the order of `classes` and, last, of the background, (F + 1,) float64; NaN for one without ground truth.

        With `only_where_shown`, PANet's rule: false positives of a class count on queries that show it alone.
        """
        predicted = self.predicted_where_shown if only_where_shown else self.predicted
        hits, truth = self.hits.cpu().double(), self.truth.cpu().double()
        iou = hits / (truth + predicted.cpu().double() - hits)
        return iou.masked_fill(truth == 0, torch.nan)

    def compute(self) -> dict[str, float]:
        """The means as fractions.

        Returns:
            "miou" over the tested classes, the headline; "miou_with_background"; "fb_iou", the mean of foreground (all classes as one) and
            background; "miou_panet", as "miou" with PANet's rule for false positives.
        """
        iou = self.iou()
        return {
            "miou": mean_iou(iou[:-1]),
            "miou_with_background": mean_iou(iou),
            "fb_iou": mean_iou(class_iou(self.foreground)),
            "miou_panet": mean_iou(self.iou(only_where_shown=True)[:-1]),
        }
