"""Checkpoints between two iterations, where Lightning has no hook, and loop states that it goes on from rightly.

Of Lightning's hooks `on_train_batch_end` comes too early for a checkpoint: the metrics of the iteration are not logged yet, and where a
validation is due Lightning leaves it out after a resumption. `on_train_batch_start` comes too late: the next batch is drawn. And a state
saved after the last batch of an epoch makes Lightning (2.6) draw one batch too many into that epoch. So the epoch loop's own end of an
iteration is extended, and the progress that is saved is written down as that of a place from which Lightning does go on.
"""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer

Loops = dict[str, Any]
"""The state of a fit loop with all its children, as Lightning writes it into a checkpoint."""

_STAGES = ("ready", "started", "processed", "completed")


def after_each_iteration(trainer: Trainer, function: Callable[[], None]) -> None:
    """Call `function` whenever an iteration with all that belongs to it (metrics, validation) is over.

    Args:
        trainer: Its fit loop is about to run; lives as long as the Trainer does.
        function: What to call.
    """
    loop = trainer.fit_loop.epoch_loop
    end = loop.on_advance_end

    def extended(data_fetcher: Any) -> None:
        end(data_fetcher)
        function()

    loop.on_advance_end = extended  # type: ignore[method-assign]


def epoch_is_over(trainer: Trainer) -> bool:
    """Whether the iteration that was made last is the last one of its epoch."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def between_epochs(loops: Loops) -> None:
    """Write down the state after an epoch's last iteration as that of a fit loop that is about to begin the next epoch."""
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    for progress in epochs["total"], epochs["current"]:
        progress.update(dict.fromkeys(_STAGES, progress["ready"]))
    batches["current"].update(dict.fromkeys(_STAGES, 0))
    batches["is_last_batch"] = False
    loops["epoch_loop.val_loop.batch_progress"]["total"].update(dict.fromkeys(_STAGES, 0))


def before_validation(loops: Loops) -> None:
    """Write down the state in the midst of a validation as one in its first batch, so that it is made again, as a whole."""
    batches = loops["epoch_loop.val_loop.batch_progress"]
    for progress in batches["total"], batches["current"]:
        progress.update({"ready": 1, "started": 1, "processed": 0, "completed": 0})
    batches["is_last_batch"] = False


def forget_left_validation(trainer: Trainer) -> None:
    """Count batches of validations from 0, once Lightning knows how to go on.

    It would count the batch that `before_validation` writes down to those of the validation made again, and take every state that is saved
    afterwards for one in the midst of a validation.
    """
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()


def without_asking_for_signals(trainer: Trainer) -> None:
    """Spare the iterations of several processes Lightning's question whether the first one got a SIGTERM.

    Each of them would wait for its device to read the answer, before every iteration; and it is never a yes once `LastCheckpoint` has taken
    the signals over, which asks by itself, once in a while.
    """
    if hasattr(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor"):
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
