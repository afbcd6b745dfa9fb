"""Numbers that the device sends to the host without anybody waiting for them."""

import torch
from torch import Tensor


class Later:
    """A copy of numbers on its way to the host; who asks before it is there waits for it, and for nothing that was asked for after it.

    Args:
        values: Of any shape, on any device; may change afterwards.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)  # a copy to ordinary memory would wait
            self._values.copy_(values.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(values.device))
        else:
            self._values = values.detach().clone()

    def tensor(self) -> Tensor:
        """The numbers, on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._values.cpu()

    def read(self) -> list[float]:
        """The numbers of a vector."""
        numbers: list[float] = self.tensor().tolist()
        return numbers
