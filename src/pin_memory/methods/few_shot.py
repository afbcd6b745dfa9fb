"""MetaSegNet: features are learned for heads that are fitted to the support of an episode (Tian et al., AAAI 2020)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.memory import Classifier, Reading, RidgeMemory
from pin_memory.methods.base import Method
from pin_memory.methods.batches import randomise
from pin_memory.methods.losses import cross_entropy
from pin_memory.methods.memory_learning import require_memory
from pin_memory.metrics import EpisodeScores
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.distributed import broadcast_state
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, validated

EpisodeBatch = dict[str, Any]
"""`{"support": {"image" (E, S, 3, H, W), "label" (E, S, H, W)}, "query": {...}, "classes" (E, K), "name"}`."""


@validated("method")
class MetaSegNet(Method):
    """Steps on the query loss of heads that are fitted to the support, through the fit where that is differentiable.

    For each episode `W = fit(F(X_support), Y_support)`, and `loss = CE(scores(F(X_query), W), Y_query)` over all labelled query pixels.
    Support and query of a step run through the network together, so batch norm normalises by both; a test goes by its running statistics,
    in which no query counts. In a test nothing is learned: what belongs to an episode is its head alone, which lasts as long as it does.

    Args:
        network: A segmenter that ends in a head of `pin_memory.memory.Classifier`.
        optimizer: Makes the optimiser.
        schedule: Factor on its learning rate by iteration.
        way: Classes of an episode in training.
        options: As in `Method`, but for the losses that it has not.

    Attributes:
        scores: Counts of the newest validation (`val`) or test, by the names of its loaders.

    Raises:
        ConfigurationError: There are no episodes, or the network learns something of its classes.
    """

    name: ClassVar[str] = "meta_seg_net"

    def __init__(
        self,
        network: SkipValidation[MemorySegmenter],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[int], float] | None = None,
        way: Count | None = None,
        **options: Any,
    ) -> None:
        if way is None:
            raise ConfigurationError("method=meta_seg_net trains on episodes: choose an experiment that has them, or set data=episodes.")
        if extra := next((extra for extra in ("whitening", "alignment") if options.get(extra) is not None), None):
            raise ConfigurationError(f"method=meta_seg_net has no {extra} loss: leave out +{extra}.")
        super().__init__(network, optimizer, schedule, **options)
        network.set_classes(way + 1)
        self.scores: dict[str, EpisodeScores] = {}

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        """One iteration: embed all images, fit a head to each support, step on their loss on the queries."""
        support, query = batch["support"], batch["query"]
        images = torch.cat([part["image"].flatten(0, 1) for part in (support, query)])
        encoding = self.network.encode(images)

        labelled, asked = encoding.features.split([part["label"].flatten(0, 1).shape[0] for part in (support, query)])
        episodes = len(batch["classes"])
        pairs = zip(labelled.chunk(episodes), self.network.cells.cover(support["label"]), asked.chunk(episodes), strict=True)
        scores = torch.cat([self.network.read(queries, self.memory.fit(known, labels)).fused for known, labels, queries in pairs])
        truth = query["label"].flatten(0, 1)
        loss = cross_entropy(self.network.decode(Reading(scores, scores), encoding, (truth.shape[-2], truth.shape[-1])), truth)

        self.log_losses(total=loss)
        self.step_optimizer(self.gradients_of(loss), len(images))
        if self.should_log and isinstance(self.memory, RidgeMemory):
            self.log_dict(self.memory.numbers())

    def on_train_batch_start(self, batch: EpisodeBatch, batch_idx: int) -> None:
        """Begin an iteration; messages name the episodes."""
        super().on_train_batch_start({"episodes": {"name": batch["name"]}}, batch_idx)
        if self.randomisation is not None:
            randomise({part: batch[part] for part in ("support", "query")}, self.randomisation)

    def segment(self, batch: EpisodeBatch, protocol: Protocol = WHOLE) -> Tensor:
        """Segment the queries of one episode, (1, Q, H, W), by its support alone."""
        support, query = batch["support"], batch["query"]
        self.memory.commit(self.fitted(support["image"][0], support["label"][0]))
        prediction = protocol.predict(self.network, query["image"][0], tuple(query["label"].shape[-2:]), self.test_statistics)
        self.memory.commit(torch.zeros_like(self.memory.items))
        return prediction[None]

    @torch.no_grad()
    def fitted(self, images: Tensor, labels: Tensor) -> Tensor:
        """The head of a support, normalised images `(S, 3, H, W)` with labels `(S, H, W)` of 0 to K or 255, in evaluation mode."""
        with self.test_statistics.applied(self.network):
            features = [self.network.encode(group).features for group in self.test_statistics.groups(images)]
        return self.memory.fit(torch.cat(features), self.network.cells.cover(labels))

    def on_validation_epoch_start(self) -> None:
        """Start empty counts, with one network on all ranks."""
        broadcast_state(self)
        self.scores = {"val": EpisodeScores(self._data.val_ids).to(self.device)}

    def validation_step(self, batch: EpisodeBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the predictions on the queries of an episode of training classes."""
        self.scores["val"].update(self.segment(batch), batch["query"]["label"], batch["classes"])

    def on_validation_epoch_end(self) -> None:
        """Log `val/miou` over the training classes, which the best checkpoint is chosen by, and FB-IoU."""
        means = self.scores["val"].compute()
        self.log_dict({"val/miou_episodes": means["miou"], "val/fb_iou": means["fb_iou"]})
        self.log("val/miou", means["miou"], prog_bar=True)
        self.log("step", float(self.global_step))

    def on_test_epoch_start(self) -> None:
        """Start empty counts for each seed, with one network on all ranks."""
        broadcast_state(self)
        self.scores = {stage: EpisodeScores(self._data.test_classes).to(self.device) for stage in self._data.test_stages}

    def test_step(self, batch: EpisodeBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Count the predictions on the queries of an episode; returns them with images and labels, for the callbacks."""
        prediction, query = self.segment(batch, self.protocol), batch["query"]
        list(self.scores.values())[dataloader_idx].update(prediction, query["label"], batch["classes"])
        return {"prediction": prediction[0], "image": query["image"][0], "label": query["label"][0]}

    @property
    def memory(self) -> Classifier:
        """The network's head."""
        memory = self.network.require_memory()
        assert isinstance(memory, Classifier)  # refused otherwise by `MemorySegmenter.set_classes`
        return memory

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def check_sources(self, batch_sizes: Mapping[str, int]) -> None:
        """Refuse a run without sources; one episode in a step has several images."""
        super().check_sources(dict.fromkeys(batch_sizes, 2))
        require_memory(self, Classifier)
