"""Which images an iteration was made of, for the message when it fails."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pin_memory.utils.errors import NonFiniteError

_SHOWN = 8  # names of each domain


class IterationNames(Callback):
    """Adds to an exception in training which iteration failed and on which samples, by domain.

    The names are a note of the exception (PEP 678), which a traceback shows, and a command's message of a mistake, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, list[str]] = {}
        self._iteration = 0  # from 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the names."""
        self._iteration = trainer.global_step + 1
        parts = batch.items() if isinstance(batch, dict) else ()
        self._names = {domain: list(part["name"]) for domain, part in parts if isinstance(part, dict) and "name" in part}
        if isinstance(batch, dict) and isinstance(batch.get("name"), list):
            self._names["episodes"] = batch["name"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Forget them: what fails from now on fails on other samples."""
        self._names = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Add the names; a message on numbers that are not finite has those of its images anyway."""
        if not self._names or not isinstance(exception, Exception) or isinstance(exception, NonFiniteError):
            return
        parts = []
        for domain, names in self._names.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{domain}: {', '.join(names[:_SHOWN])}{more}")
        # A loading process reads ahead of the iteration in which its end is noticed.
        is_late = "DataLoader worker" in str(exception)
        where = "Noticed in iteration {}; what was being loaded comes after " if is_late else "In iteration {}, on "
        exception.add_note(where.format(self._iteration) + "; ".join(parts))
