"""The authors' checkpoint format: names of tensors there and here, and what else such a file holds.

A file of theirs has the keys `state_dict`, `memory` (the items, which are no part of their state dict), `epoch`, `mean_iu`, `optimizer` and
`scheduler`. Wrappers (DataParallel, DistributedDataParallel) put `module.` before every name, once each.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy._core.multiarray import scalar
from torch import Tensor

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.safe_load import load_weights_only

MEMORY_ITEMS = "memory.items"  # name here of the memory's items
MEMORY_ANCHOR = "memory.anchor"  # of the text that they are anchored to, which the authors' networks do not have
WRAPPER = "module."  # what a wrapper of the released code puts before every name

_PREFIXES = {
    "layer0": "backbone.stem",
    **{f"layer{stage}": f"backbone.stage{stage}" for stage in range(1, 5)},
    "aspp.features": "aspp.branches",  # DeepLabV3+
    "aspp.conv2d_list": "aspp.branches",  # DeepLabV2
    "aspp.img_conv": "aspp.image_pooling",
    "bot_aspp": "aspp.bottleneck",
    "bot_fine": "decoder.reduce",
    "final1.0": "decoder.refine.0.0",
    "final1.1": "decoder.refine.0.1",
    "final1.3": "decoder.refine.1.0",
    "final1.4": "decoder.refine.1.1",
    "final2.0": "decoder.classify",
    "dsn": "auxiliary_head",
    "memory.output": "memory.fusion",
    "memory.writenet.writefeat.0": "memory.update.conv",
    "memory.writenet.writefeat.1": "memory.update.norm",
    "memory.clsfier": "memory.classifier",
}
_NUMBERS = (np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType, np.dtypes.Int32DType)


def unwrapped(name: str) -> str:
    """A name of a released checkpoint without its wrappers."""
    return re.sub(rf"^({re.escape(WRAPPER)})+", "", name)


def to_ours(name: str) -> str:
    """The name here of a tensor of the released networks (`layer1.0.conv1.weight`); one that they do not have stays as it is."""
    return _renamed(name, _PREFIXES, ".instance_norm_layer.", ".instance_norm.")


def to_official(name: str, deeplab_v2: bool) -> str:
    """The name in the released networks of a tensor of ours, except the memory's items, which lie next to the released state dict.

    The pyramid of a DeepLabV2 has another name there.
    """
    pyramid = "aspp.conv2d_list" if deeplab_v2 else "aspp.features"
    prefixes = {ours: theirs for theirs, ours in _PREFIXES.items()} | {"aspp.branches": pyramid}
    return _renamed(name, prefixes, ".instance_norm.", ".instance_norm_layer.")


def _renamed(name: str, prefixes: Mapping[str, str], norm: str, new_norm: str) -> str:
    """A name with another prefix, where it has one of these, and another name of its instance norm."""
    found = next((prefix for prefix in prefixes if name.startswith(f"{prefix}.")), None)
    return name if found is None else prefixes[found] + name.removeprefix(found).replace(norm, new_norm)


def is_deeplab_v2(names: Iterable[str]) -> bool:
    """Whether these are the names of our tensors of a DeepLabV2: its pyramid pools no image."""
    return not any(name.startswith("aspp.image_pooling.") for name in names)


class Released(NamedTuple):
    """What a released checkpoint holds.

    `state` has the tensors by name without wrappers, `names` the names as they are in the file, `items` the memory `(K, C)`, None for a
    network without memory, `extras` everything else as plain containers and numbers.
    """

    state: dict[str, Tensor]
    names: list[str]
    items: Tensor | None
    extras: dict[str, Any]

    @property
    def has_memory(self) -> bool:
        """Whether it is of a network with a memory: has the items, or the layers around them."""
        return self.items is not None or any(name.startswith("memory.") for name in self.state)


def read_released(path: Path) -> Released:
    """Read a checkpoint of the authors' format: weights, containers and numbers only; no code in it is run."""
    content = read_containers(path)
    if isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values()):
        content = {"state_dict": content}  # the weights alone, which the released code takes as well
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"the keys {', '.join(map(str, content))}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ConfigurationError(f"{path}: expected a checkpoint of the authors' format, with tensors under state_dict; found {found}.")
    bare = {unwrapped(name): value.detach() for name, value in state.items()}
    if len(bare) < len(state):
        raise ConfigurationError(f"{path}: two tensors have the same name once {WRAPPER} is taken off.")
    items = content.get("memory")
    if items is not None and not isinstance(items, Tensor):
        raise ConfigurationError(f"{path}: expected the memory's items as a tensor, found a {type(items).__name__} under memory.")
    extras = {key: _with_own_numbers(value) for key, value in content.items() if key not in ("state_dict", "memory")}
    return Released(bare, list(state), None if items is None else items.detach(), extras)


def read_containers(path: Path) -> Any:
    """Load a file of tensors, plain containers and numbers, to which numpy's scalars belong; anything else in it is refused."""
    numbers = [(scalar, f"numpy.{package}.multiarray.scalar") for package in ("core", "_core")]  # numpy 1 and 2 call it differently
    return load_weights_only(path, [*numbers, np.dtype, *_NUMBERS])


def _with_own_numbers(value: Any) -> Any:
    """The value with Python's numbers for numpy's, and plain containers."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _with_own_numbers(part) for key, part in value.items()}
    return type(value)(_with_own_numbers(part) for part in value) if type(value) in (list, tuple) else value
