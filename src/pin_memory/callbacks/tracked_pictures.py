"""Pictures for TensorBoard and MLflow: the panels of the targets, their overview, and the memory's similarity over time."""

import logging
from pathlib import Path

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from pin_memory.callbacks.panels import PredictionPanels
from pin_memory.callbacks.wandb_media import draw_memory
from pin_memory.utils.trackers import log_picture, trackers

log = logging.getLogger(__name__)


class TrackedPictures(Callback):
    """Log pictures with the loggers of TensorBoard and MLflow; without them, do nothing.

    After a test the panels of `PredictionPanels`, which has to come first: `panels/<target>/<number>`, and all in `panels/overview`. After
    every validation in training and at its end `memory/similarity` and `memory/mean_similarity`, as `WandbMedia` does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory_step = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the memory as it is at a validation in training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._log_memory(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the memory of the last iteration."""
        self._log_memory(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the panels that were written."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        panels = next((callback for callback in callbacks if isinstance(callback, PredictionPanels)), None)
        if panels is None or not trackers(trainer.loggers):
            return
        pictures = {f"panels/{target}/{number}": path for target, paths in panels.by_target.items() for number, path in enumerate(paths)}
        if panels.overview is not None:
            pictures["panels/overview"] = panels.overview
        try:
            for key, path in pictures.items():
                rgb = _read(path)
                for logger in trackers(trainer.loggers):
                    log_picture(logger, key, rgb, trainer.global_step)
        except OSError as error:  # a full disk, a server that is gone: the scores are still to be written
            log.warning("The panels could not be logged: %s. They lie in the run folder.", error)

    def _log_memory(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the heat map and its mean, once for an iteration."""
        step, chosen = trainer.global_step, trackers(trainer.loggers)
        if not chosen or self._memory_step == step or (drawn := draw_memory(trainer, module)) is None:
            return
        self._memory_step = step
        picture, mean, _ = drawn
        for logger in chosen:
            log_picture(logger, "memory/similarity", picture, step)
            if not np.isnan(mean):
                logger.log_metrics({"memory/mean_similarity": mean}, step)


def _read(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
