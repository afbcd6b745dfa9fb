"""A step of an optimiser that the device takes back by itself."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pin_memory.methods.kept_tensors import KeptTensors

Slot = tuple[int, int, str]
"""A number of the optimiser: group, place of the parameter, name in the parameter's state; "" is the parameter, place -1 the group."""


class RevocableStep:
    """Keeps weights and optimiser state over one step, so that a flag on the device decides whether the step holds; nobody waits for it.

    State that lies on the host (Adam's counters, numbers in the groups) cannot follow the flag: the host gives it back once it has read it.
    What an optimiser keeps elsewhere than in `state` and `param_groups` stays as it is.

    Args:
        optimizer: Torch's own, not one wrapped by Lightning.
        device: Where the flag will be.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._optimizer, self._device = optimizer, device
        self._kept = KeptTensors()
        on_device, on_host = self._slots()
        self._known = on_device.keys() | on_host.keys()
        self._host_before: dict[Slot, Any] = copy.deepcopy(on_host)
        self._kept.keep(on_device)  # type: ignore[arg-type]

    @staticmethod
    def possible(optimizer: Optimizer, device: torch.device) -> bool:
        """Whether all that a step changes can be kept: plain numbers and tensors by parameter, and the weights where the flag is."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        states = [optimizer.state.get(p, {}) for p in parameters]
        plain = all(isinstance(value, Tensor | int | float | bool | None) for state in states for value in state.values())
        return plain and all(isinstance(key, Tensor) for key in optimizer.state) and all(p.device == device for p in parameters)

    def revoke(self, where: Tensor) -> None:
        """Take the step back on the device where the flag `()` says so, right after it was made.

        State that the step has made anew, as the first step does, can only be given up by the host, which waits for the flag then.

        Args:
            where: Bool, on the device.
        """
        on_device, on_host = self._slots()
        self._kept.give_back(on_device, where)  # type: ignore[arg-type]
        self._kept.forget()
        # Later the schedule changes the groups, too: only what the step has changed is given back.
        self._host_before = {slot: old for slot, old in self._host_before.items() if slot[1] >= 0 or not _same(old, on_host.get(slot))}
        made = (on_device.keys() | on_host.keys()) - self._known
        others = [key for key in self._optimizer.state if not isinstance(key, Tensor)]  # there were none
        if (made or others) and bool(where):
            for slot in made:
                del self._place(slot)[slot[2]]
            for key in [*others, *(key for key, state in self._optimizer.state.items() if not state)]:
                self._optimizer.state.pop(key, None)

    def revoke_on_host(self) -> None:
        """Give back the numbers on the host; the step was taken back on the device."""
        for slot, value in self._host_before.items():
            self._place(slot)[slot[2]] = value

    def _place(self, slot: Slot) -> dict[str, Any]:
        """What holds a number that is no parameter."""
        group, place, _ = slot
        options = self._optimizer.param_groups[group]
        state: dict[str, Any] = options if place < 0 else self._optimizer.state[options["params"][place]]
        return state

    def _slots(self) -> tuple[dict[Slot, Tensor], dict[Slot, Any]]:
        """What the optimiser may change: on the flag's device, and elsewhere."""
        on_device: dict[Slot, Tensor] = {}
        on_host: dict[Slot, Any] = {}
        for number, group in enumerate(self._optimizer.param_groups):
            held: dict[tuple[int, str], Any] = {(-1, name): value for name, value in group.items() if name != "params"}
            for place, parameter in enumerate(group["params"]):
                on_device[number, place, ""] = parameter
                held |= {(place, name): value for name, value in self._optimizer.state.get(parameter, {}).items()}
            for (place, name), value in held.items():
                if isinstance(value, Tensor) and value.device == self._device:
                    on_device[number, place, name] = value
                else:
                    on_host[number, place, name] = value
        return on_device, on_host


def _same(first: Any, second: Any) -> bool:
    """Whether two values on the host are equal."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return isinstance(first, Tensor) and isinstance(second, Tensor) and torch.equal(first, second)
    return bool(first == second)
