"""Random numbers that depend on nothing but the seed, the process and the place in training."""

import random

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.distributed import rank

_STEP, _START, _VALIDATION, _TEST = range(4)


class StepSeeds(Callback):
    """Seeds all generators anew before training and before each iteration, validation and test.

    A run that is resumed then draws the noise (Gumbel, drop-out) that it would have drawn without the stop. The other way, states of
    generators in the checkpoint, hangs on all that draws between two iterations: validations, passes over the sources, each iterator of a
    loader (PyTorch draws its workers' seed), a user's callback; it needs the states of all processes and devices in one file, and has
    nothing to offer where their number changes. Here no state has to be saved. What a worker draws follows from the draw itself.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before what a method does ahead of the first iteration."""
        self._seed(_START, trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Before an iteration."""
        self._seed(_STEP, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a validation, which draws where evaluation is noisy, too."""
        self._seed(_VALIDATION, trainer.global_step)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a test: a run that is only evaluated scores as one that was evaluated right after training."""
        self._seed(_TEST, 0)

    def _seed(self, phase: int, number: int) -> None:
        """Seed the generators of torch (all devices), numpy and Python."""
        seeds = np.random.SeedSequence([self.seed, rank(), phase, number]).generate_state(3)
        torch.manual_seed(int(seeds[0]))
        np.random.seed(int(seeds[1]))  # noqa: NPY002 - the global one is what others draw from
        random.seed(int(seeds[2]))
