"""A step of an optimiser that the device takes back by itself."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.methods.kept_tensors import KeptTensors

Slot = tuple[int, int, str]
"""A number of the optimiser: group and place of its parameter, name in the parameter's state; "" is the parameter itself."""


class RevocableStep:
    """Keeps weights and optimiser state over one step, so that a flag on the device decides whether the step holds; nobody waits for it.

    State that lies on the host (Adam's counters, for example) cannot follow the flag: the host gives it back once it has read it.

    Args:
        optimizer: Torch's own, not one wrapped by Lightning.
        device: Where the flag will be.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._optimizer, self._device = optimizer, device
        self._kept = KeptTensors()
        self._on_device, self._on_host = self._slots()
        self._host_before = copy.deepcopy(self._on_host)
        self._kept.keep(self._on_device)  # type: ignore[arg-type]

    @staticmethod
    def possible(optimizer: Optimizer, device: torch.device) -> bool:
        """Whether all that a step changes is known before: not at the first step, which makes the state, nor with weights elsewhere."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        plain = all(
            isinstance(value, Tensor | int | float | bool | None) for p in parameters for value in optimizer.state.get(p, {}).values()
        )
        return plain and bool(optimizer.state) and all(p.device == device for p in parameters)

    def revoke(self, where: Tensor) -> None:
        """Take the step back on the device where the flag `()` says so; state that the step has made anew makes the host wait.

        Args:
            where: Bool, on the device.
        """
        on_device, on_host = self._slots()
        self._kept.give_back(on_device, where)  # type: ignore[arg-type]
        self._kept.forget()
        made = (on_device.keys() | on_host.keys()) - self._on_device.keys() - self._on_host.keys()
        if made and bool(where):
            for group, place, name in made:
                del self._optimizer.state[self._optimizer.param_groups[group]["params"][place]][name]

    def revoke_on_host(self) -> None:
        """Give back the state on the host; the step was taken back on the device."""
        for (group, place, name), value in self._host_before.items():
            self._optimizer.state[self._optimizer.param_groups[group]["params"][place]][name] = value

    def _slots(self) -> tuple[dict[Slot, Tensor], dict[Slot, Any]]:
        """What the optimiser changes: on the flag's device, and elsewhere."""
        on_device: dict[Slot, Tensor] = {}
        on_host: dict[Slot, Any] = {}
        for number, group in enumerate(self._optimizer.param_groups):
            for place, parameter in enumerate(group["params"]):
                on_device[number, place, ""] = parameter
                for name, value in self._optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor) and value.device == self._device:
                        on_device[number, place, name] = value
                    else:
                        on_host[number, place, name] = value
        return on_device, on_host
