"""Being told to stop: by Ctrl-C, by SIGTERM, or by SIGUSR1, which clusters send some time before they end a job."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from pin_memory.utils.processes import is_first

STOPPED = 143
"""Exit code of a training that was told to stop and can go on (128 + SIGTERM), also where SIGUSR1 told it. Ctrl-C ends with 130."""
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # by name: Windows has no SIGUSR1


class Stopped(SystemExit):
    """Training ends because it was told to.

    Attributes:
        signal: Name of what told it.
    """

    def __init__(self, number: int, code: int = STOPPED) -> None:
        super().__init__(code)
        self.signal = signal.Signals(number).name


class StopSignals:
    """Handles the three signals while it is installed.

    Args:
        deferring: The first signal is only remembered (`received`), for whoever asks at a place where the state is whole; a second Ctrl-C
            does not wait any longer. Otherwise a signal ends the process where it is, with `STOPPED`, or KeyboardInterrupt for Ctrl-C.

    Attributes:
        received: Number of the signal that was remembered.
    """

    def __init__(self, deferring: bool = False) -> None:
        self.deferring = deferring
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._owner = 0

    def install(self) -> None:
        """Take the signals over, if this is the main thread; what is ignored (`nohup`, `&`) stays so."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        self.received, self._owner = None, os.getpid()
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def __enter__(self) -> "StopSignals":
        """Install."""
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        """Uninstall."""
        self.uninstall()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a loader's worker, which was forked with this handler: its parent decides
            return
        if self.deferring and (self.received is None or number != signal.SIGINT):
            if self.received is None:
                self.received = number
                again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
                _say(f"{signal.Signals(number).name}: finishing this iteration and saving{again}.")
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        _say(f"Stopped by {signal.Signals(number).name}.")
        raise Stopped(number)


def _say(text: str) -> None:
    """A line on stderr of the first process; written past Python's buffers, which a signal may have interrupted."""
    if is_first():
        os.write(2, f"\n{text}\n".encode())
