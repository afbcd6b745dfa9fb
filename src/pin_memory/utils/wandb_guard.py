"""The guard around all calls of W&B: whatever it raises, training continues, and the log reports it once."""

import logging
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from lightning.pytorch.loggers import WandbLogger

log = logging.getLogger(__name__)

T = TypeVar("T")

_PARTS = ("config", "summary")  # attributes of a run with calls of their own
_LOST = "its own process, which has ended,"
_said: set[str] = set()


def attempt(what: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
    """Call what has to do with W&B, and return None where that fails.

    W&B, its own process, the disk and PIL raise all sorts of errors, so none is named here. Each `what` is reported once for a run. When
    the connection to W&B's process is lost, nothing is called until there is a new run.
    """
    if lost():
        return None
    try:
        return call(*args, **kwargs)
    except (Exception, CancelledError) as error:  # the latter by W&B's own thread
        kind = _LOST if isinstance(error, ConnectionError) else what
        if kind not in _said and not lost():
            text = "W&B: %s failed (%s). Training goes on; metrics are in metrics.csv."
            log.warning(text, kind, reason(error), exc_info=log.isEnabledFor(logging.DEBUG))
        _said.add(kind)
        return None


def reason(error: BaseException) -> str:
    """The kind of an error and the beginning of its message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def lost() -> bool:
    """Whether W&B's own process has ended under the run."""
    return _LOST in _said


def give_up() -> None:
    """Call and report nothing until there is a new run."""
    _said.add(_LOST)


def new_run() -> None:
    """Report failures anew."""
    _said.clear()


def within(seconds: float, call: Callable[[], Any]) -> bool:
    """Make a call that may hang, and that raises nothing; return whether it has ended after `seconds`."""
    thread = Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class GuardedRun:
    """A W&B run, or its configuration or summary, of which no call ends a training; everything else is as W&B has it."""

    def __init__(self, target: Any) -> None:
        self.__dict__["_target"] = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what pickle and copy look for
            raise AttributeError(name)
        value = getattr(self._target, name)
        if name in _PARTS:
            return GuardedRun(value)
        return partial(attempt, f"run.{name}", value) if callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        attempt(f"run.{name} =", setattr, self._target, name, value)

    def __getitem__(self, key: str) -> Any:
        return self._target[key]

    def __setitem__(self, key: str, value: Any) -> None:
        attempt(f"run[{key!r}] =", self._target.__setitem__, key, value)


class GuardedLogger(WandbLogger):
    """Lightning's logger, whose own work (pictures and tables are made in it) ends no training either."""

    def log_metrics(self, metrics: Any, step: float | None = None) -> None:
        """Log metrics at a number of iterations, which Lightning gives as a fraction where a method has logged it."""
        super().log_metrics(metrics, None if step is None else int(step))

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        guarded = (name.startswith("log_") or name in ("watch", "finalize", "after_save_checkpoint")) and callable(value)
        return partial(attempt, f"logger.{name}", value) if guarded else value
