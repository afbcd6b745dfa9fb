"""No row of metrics twice, none lost, when a run goes on."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.loggers.csv import CSVLogger

_KEY = "metrics_csv"


class MetricRows(Callback):
    """Keeps in every checkpoint how far `metrics.csv` was, and takes the file back to there when training goes on from the checkpoint."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state of the files."""
        checkpoint[_KEY] = [logger.state_dict() for logger in _files(trainer)]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Drop the rows that were written after the checkpoint."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        for number, logger in enumerate(_files(trainer)):
            known = checkpoint.get(_KEY, [])
            logger.rewind(known[number] if number < len(known) else {}, steps=checkpoint["global_step"])


def _files(trainer: Trainer) -> list[CSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
