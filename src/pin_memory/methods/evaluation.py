"""How every method is evaluated: a confusion matrix per domain, for sources in validation and for targets in tests."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from pin_memory.inference.batch_norm import BatchNormStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.metrics import DomainConfusion, class_iou, mean_iou
from pin_memory.metrics.confusion import confusion_counts
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state


class DomainEvaluationMixin(LightningModule):
    """Counts predictions by domain; what is counted is summed over the ranks when it is computed.

    Attributes:
        network: What predicts.
        test_statistics: What batch normalisation normalises by in validation and tests.
        protocol: How the network is applied to the images of a test; validation always predicts whole images, once.
        confusions: Confusion matrix by domain of the newest validation or test.
        image_scores: mIoU of each image of the newest test, by domain and name; NaN where the label shows no class. Of this rank's images.
    """

    network: MemorySegmenter
    test_statistics: BatchNormStatistics
    protocol: Protocol

    def __init__(self) -> None:
        super().__init__()
        self.confusions: dict[str, DomainConfusion] = {}
        self.image_scores: dict[str, dict[str, float]] = {}

    def on_validation_epoch_start(self) -> None:
        """Start an empty confusion matrix per source, with one network on all ranks."""
        broadcast_state(self)
        self._reset_confusions(self.trainer.datamodule.validation_names)  # type: ignore[attr-defined]

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the predictions on a source's validation image."""
        self._count(batch, dataloader_idx, WHOLE)

    def on_validation_epoch_end(self) -> None:
        """Log `val/miou_<source>` and their mean `val/miou`, which the best checkpoint is chosen by."""
        scores = {name: mean_iou(class_iou(c.compute())) for name, c in self.confusions.items()}
        self.log_dict({f"val/miou_{name}": score for name, score in scores.items()})
        self.log("val/miou", sum(scores.values()) / max(len(scores), 1), prog_bar=True)
        self.log("step", float(self.global_step))  # finished iterations; Lightning's own count is one less

    def on_test_epoch_start(self) -> None:
        """Start an empty confusion matrix per target, with one network on all ranks."""
        broadcast_state(self)
        self._reset_confusions(self.trainer.datamodule.target_names)  # type: ignore[attr-defined]

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Count the predictions on a target image; returns them for the callbacks."""
        prediction = self._count(batch, dataloader_idx, self.protocol)
        scores = self.image_scores[list(self.confusions)[dataloader_idx]]
        for name, own, label in zip(batch["name"], prediction, batch["label"], strict=True):
            scores[name] = mean_iou(class_iou(confusion_counts(own, label, self.network.num_classes)))
        return {"prediction": prediction}

    def _reset_confusions(self, domains: list[str]) -> None:
        self.confusions = {name: DomainConfusion(self.network.num_classes).to(self.device) for name in domains}
        self.image_scores = {name: {} for name in domains}

    def _count(self, batch: dict[str, Any], index: int, protocol: Protocol) -> Tensor:
        prediction = protocol.predict(self.network, batch["image"], tuple(batch["label"].shape[-2:]), self.test_statistics)
        list(self.confusions.values())[index].update(prediction, batch["label"])
        return prediction
