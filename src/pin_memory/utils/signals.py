"""Requests to stop: Ctrl-C, SIGTERM, and SIGUSR1, which clusters send some time before they end a job.

They are handled here and not by Lightning's requeueing, since training has to save first and all processes of a run have to stop together.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from pin_memory.utils.processes import is_first

STOPPED = 143
"""Exit code of a training that was asked to stop and can be resumed (128 + SIGTERM), also by SIGUSR1. Ctrl-C ends with 130."""
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # by name: Windows has no SIGUSR1


class Stopped(SystemExit):
    """Ends a training that was asked to stop; `signal` is the name of what asked."""

    def __init__(self, number: int, code: int = STOPPED) -> None:
        super().__init__(code)
        self.signal = signal.Signals(number).name


class StopSignals:
    """Handles the three signals while it is installed, in the main thread.

    With `deferring` the first signal is only kept in `received`, for whoever asks at a place where the state is complete; a second Ctrl-C
    does not wait any longer. Otherwise a signal ends the process where it is: by `Stopped`, or KeyboardInterrupt for Ctrl-C.
    """

    def __init__(self, deferring: bool = False) -> None:
        self.deferring = deferring
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._owner = 0

    def install(self) -> Self:
        """Replace the handlers; what is ignored (`nohup`, `&`) stays ignored."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return self
        self.received, self._owner = None, os.getpid()
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def uninstall(self, *_: object) -> None:
        """Restore the handlers."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    __enter__, __exit__ = install, uninstall

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a loader's worker, which was forked with this handler: its parent decides
            return
        if self.deferring and (self.received is None or number != signal.SIGINT):
            if self.received is None:
                self.received = number
                again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                _print(f"{signal.Signals(number).name}: finishing this iteration and saving{again}.")
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        _print(f"Stopped by {signal.Signals(number).name}.")
        raise Stopped(number)


def _print(text: str) -> None:
    """Print a line on stderr of the first process, past Python's buffers, which a signal may have interrupted."""
    if is_first():
        os.write(2, f"\n{text}\n".encode())
