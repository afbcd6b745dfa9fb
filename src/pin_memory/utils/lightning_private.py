"""Lightning's private parts, of version 2.6: the one file that touches them, so that a new version is checked in one place.

Places are below `lightning/pytorch/`. `pyproject.toml` admits no newer minor version until this file has been looked through.
"""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer

Loops = dict[str, Any]  # the state of a fit loop with all its children, as Lightning writes it into a checkpoint


def attached_trainer(module: LightningModule) -> Trainer | None:
    """Return the Trainer of a module, or None where the public attribute would raise (core/module.py: `LightningModule.trainer`)."""
    return module._trainer


def after_each_iteration(trainer: Trainer, function: Callable[[], None]) -> None:
    """Call `function` whenever an iteration with its metrics and its validation is over (loops/training_epoch_loop.py: `on_advance_end`).

    No hook comes at that moment: at `on_train_batch_end` the metrics of the iteration are not logged, and a validation that is due would be
    left out after a resumption; at `on_train_batch_start` the next batch has been drawn.
    """
    loop = trainer.fit_loop.epoch_loop
    end = loop.on_advance_end

    def extended(data_fetcher: Any) -> None:
        end(data_fetcher)
        function()

    loop.on_advance_end = extended  # type: ignore[method-assign]


def mark_validation_pending(loops: Loops) -> None:
    """Write down a state from the middle of a validation as one in its first batch, so that all of it is made after a resumption.

    Lightning would resume at the next batch, without the scores of those before (loops/evaluation_loop.py: `update_restart_stage`).
    """
    batches = loops["epoch_loop.val_loop.batch_progress"]
    for progress in batches["total"], batches["current"]:
        progress.update({"ready": 1, "started": 1, "processed": 0, "completed": 0})
    batches["is_last_batch"] = False


def reset_validation_counter(trainer: Trainer) -> None:
    """Count the batches of validations from 0, once Lightning knows where to resume (loops/evaluation_loop.py: `update_restart_stage`).

    It would count the batch of `mark_validation_pending` with those of the validation that is made again, and take every later state for
    one from the middle of a validation.
    """
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()


def rewind_begun_iteration(checkpoint: dict[str, Any]) -> None:
    """Count an iteration that was begun as not begun, in a state from its middle (loops/progress.py: `_BatchProgress`)."""
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for progress in batches["total"], batches["current"]:
        progress.update(dict.fromkeys(("ready", "started", "processed"), progress["completed"]))


def forget_loader_states(checkpoint: dict[str, Any]) -> None:
    """Drop the states of training loaders, which 0.1.0 kept: an endless loader loads none (loops/fit_loop.py: `on_load_checkpoint`)."""
    checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {}).pop("combined_loader", None)


def disable_sigterm_broadcast(trainer: Trainer) -> None:
    """Spare several processes the question whether the first got a SIGTERM (loops/training_epoch_loop.py: `_broadcast_sigterm_tensor`).

    Each iteration of each process would wait for its device to read the answer; `LastCheckpoint` handles the signals, and asks by itself.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def checkpoint_content(trainer: Trainer) -> dict[str, Any]:
    """Return what `Trainer.save_checkpoint` would write (trainer/connectors/checkpoint_connector.py: `dump_checkpoint`)."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def replaces_samplers(trainer: Trainer) -> bool:
    """Return whether Lightning shares images out to several devices (trainer/connectors/accelerator_connector.py)."""
    return bool(trainer._accelerator_connector.use_distributed_sampler)


def synchronises_batch_norm(trainer: Trainer) -> bool:
    """Return whether batch norm is made to go by the images of all devices (strategies/ddp.py: `_layer_sync`)."""
    return getattr(trainer.strategy, "_layer_sync", None) is not None
