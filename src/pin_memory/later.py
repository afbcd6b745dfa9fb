"""Numbers that the device sends to the host without anybody waiting for them."""

import torch
from torch import Tensor


class Later:
    """A copy of numbers on its way to the host; who reads it before it is there waits for it, and for nothing that was asked for after it.

    Args:
        values: `(N,)`, on any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._values = values.detach()
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(values.device))

    def read(self) -> list[float]:
        """The numbers."""
        if self._event is not None:
            self._event.synchronize()
        return self._values.tolist()
