"""The record of a run in its checkpoints: what rebuilds its objects, and the newest scores on its sources."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.lightning_private import forget_loader_states

RECORD = "pin_memory"
"""Key of a checkpoint under which the record lies."""


class RunRecord(Callback):
    """Put the record of the run into every checkpoint, as plain containers that load without running code.

    Args:
        record: Of `runs.checkpoints.run_record`.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.earlier_scores: dict[str, float] = {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Know the newest scores until the first validation after a resumption; a checkpoint of 0.1.0 loses the state of its loaders."""
        forget_loader_states(checkpoint)
        self.earlier_scores = checkpoint.get(RECORD, {}).get("source_validation", {})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record and the newest scores."""
        checkpoint[RECORD] = self.record | {"source_validation": source_scores(trainer) or self.earlier_scores}


def source_scores(trainer: Trainer) -> dict[str, float]:
    """Mean IoU by source of the newest validation; empty before the first one."""
    return {k.removeprefix("val/miou_"): float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/miou_")}
