"""What two iterations of a run take: time, memory, the size of a checkpoint."""

import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pin_memory.domains import MultiSourceDataModule
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.methods import Method


class Measured(Callback):
    """Times iterations, and what evaluation and checkpoints would take, while a method is on its device.

    Args:
        data: The domains.
        targets: Look at the targets' images, too.

    Attributes:
        step: Seconds of the newest iteration, with its images at hand.
        evaluation: Seconds for one image, reading and prediction, by domain: sources as in validation, targets as in the test.
        memory: Most bytes held: on the device for a GPU, by this process otherwise.
        checkpoint: Bytes of a checkpoint.
        processes: That train together.
        epoch: Iterations in an epoch.
        terms: The newest loss terms.
    """

    def __init__(self, data: MultiSourceDataModule, targets: bool) -> None:
        self.data, self.targets = data, targets
        self.step, self.memory, self.checkpoint, self.processes, self.epoch = 0.0, 0, 0, 1, 0
        self.evaluation: dict[str, float] = {}
        self.terms: dict[str, float] = {}
        self._began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the peak so far."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The images are there."""
        _wait_for(pl_module.device)
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The iteration is made."""
        _wait_for(pl_module.device)
        self.step = time.perf_counter() - self._began

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weigh a checkpoint and evaluate an image of each domain."""
        assert isinstance(pl_module, Method)
        self.memory, self.processes = _peak(pl_module.device), trainer.world_size
        self.epoch = int(trainer.num_training_batches)
        self.terms = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("loss/")}
        self.checkpoint = _bytes(trainer._checkpoint_connector.dump_checkpoint(weights_only=False))
        for name in self.data.validation_names:
            self.evaluation[name] = _seconds_an_image(pl_module, self.data.sources[name].val_dataloader().dataset, WHOLE)
        for name, domain in self.data.targets.items() if self.targets else ():
            self.evaluation[name] = _seconds_an_image(pl_module, domain.test_dataloader().dataset, pl_module.protocol)


def seconds_to_load(data: MultiSourceDataModule) -> float:
    """Seconds that one CPU takes to read and augment the images of an iteration: those of its second draw, by domain."""
    total = 0.0
    for part in data.train_dataloader().flattened:
        draws = iter(part.sampler)
        for _ in range(2):  # the first one opens files and starts libraries
            draw, began = next(draws), time.perf_counter()
            part.dataset[draw]
        total += (time.perf_counter() - began) * (part.batch_size or 1)
    return total


@torch.inference_mode()
def _seconds_an_image(method: Method, dataset: Any, protocol: Protocol) -> float:
    """Seconds to read and predict one image; the second of two, as the first one prepares the libraries."""
    training = method.training
    method.eval()
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        sample = dataset[0]
        image = sample["image"].unsqueeze(0).to(method.device)
        protocol.predict(method.network, image, (sample["label"].shape[-2], sample["label"].shape[-1]), method.test_statistics)
        _wait_for(method.device)
        seconds = time.perf_counter() - began
    method.train(training)
    return seconds


def _wait_for(device: torch.device) -> None:
    """Let a GPU finish, so that the clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    """Most bytes allocated on a GPU since training began; otherwise the most that were resident in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _bytes(content: Any) -> int:
    """Bytes of all tensors in nested containers."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    parts: Iterable[Any] = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else ()
    return sum(map(_bytes, parts))
