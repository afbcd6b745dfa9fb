"""Loggers that take pictures and text besides metrics, TensorBoard's and MLflow's: what both are given in the same way."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

log = logging.getLogger(__name__)

Tracker = TensorBoardLogger | MLFlowLogger
_PATIENCE = 3  # failures in a row, after which a server is left alone: each may have waited for a minute


class GuardedMLFlowLogger(MLFlowLogger):
    """Lightning's logger of MLflow, whose server ends no training: what it does not take is reported once and left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._failures = 0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics as Lightning's logger does."""
        self.attempt(super().log_metrics, metrics, step)

    def finalize(self, status: str = "success") -> None:
        """End the run."""
        self.attempt(super().finalize, status)

    def attempt(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call what asks the server, unless it has failed three times in a row."""
        if self._failures >= _PATIENCE:
            return
        try:
            call(*args, **kwargs)
            self._failures = 0
        except Exception as error:  # of MLflow, of its HTTP client, of a database
            self._failures += 1
            if self._failures in (1, _PATIENCE):
                rest = "Nothing more is sent" if self._failures == _PATIENCE else "This is left out"
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                log.warning("MLflow does not take what is logged (%s). %s; training goes on, metrics.csv has it.", reason, rest)


def trackers(loggers: Iterable[Logger]) -> list[Tracker]:
    """The loggers of TensorBoard and MLflow."""
    return [logger for logger in loggers if isinstance(logger, Tracker)]


def log_picture(logger: Tracker, key: str, rgb: np.ndarray, step: int) -> None:
    """Log a picture, (H, W, 3) uint8, as an image of TensorBoard or as the artifact `<key>/<step>.png` of MLflow."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(key, rgb, step, dataformats="HWC")
    else:
        _send(logger, "log_image", rgb, artifact_file=f"{key}/{step:08}.png")


def log_text(logger: Tracker, key: str, text: str) -> None:
    """Log a text, as a text of TensorBoard or as a tag of MLflow."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(key, text)
    else:
        _send(logger, "set_tag", key, text)


def _send(logger: MLFlowLogger, name: str, *args: Any, **kwargs: Any) -> None:
    """Call a method of MLflow's client for the run of a logger, which may be one of the user's own."""

    def call() -> None:
        getattr(logger.experiment, name)(logger.run_id, *args, **kwargs)

    if isinstance(logger, GuardedMLFlowLogger):
        logger.attempt(call)
    else:
        call()
