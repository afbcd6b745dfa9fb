"""Saving in several processes, of which the first one writes: how that went, all of them learn."""

from collections.abc import Callable

from lightning.pytorch import Trainer

from pin_memory.utils.errors import OutputError


class FirstFailedError(SystemExit):
    """The first process could not write a checkpoint, and tells so; this one ends with it, without a word.

    With exit code 0: Lightning kills the first process where another one fails, perhaps before its message is out.
    """

    def __init__(self) -> None:
        super().__init__(0)


def save_together(trainer: Trainer, save: Callable[[], None]) -> None:
    """Save a checkpoint, or fail in all processes.

    Without this the first one would raise alone while the others wait for it in the barrier of `Trainer.save_checkpoint`. torchrun ends
    them then, but Lightning, where it has started them, does so for Ctrl-C only.

    Args:
        trainer: Of this process.
        save: Calls `Trainer.save_checkpoint` once.

    Raises:
        OutputError: In the first process: the file could not be written.
        FirstFailedError: In the others, then.
    """
    failure: OutputError | None = None
    try:
        save()
    except OutputError as error:
        failure = error
        trainer.strategy.barrier("Trainer.save_checkpoint")  # the one that the others wait in
    if trainer.world_size > 1 and trainer.strategy.broadcast(failure is not None) and failure is None:
        raise FirstFailedError
    if failure is not None:
        raise failure
