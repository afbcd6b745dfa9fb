"""Help for tests against the golden numbers in ../shared/golden: names, weights and digests of the authors' released code."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from pin_memory.exporting import official_names
from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, PlainDecoder, ResNetBackbone, SummedASPP


def ours(name: str) -> str:
    """The name here of a tensor of the released networks; the golden logits and gradients tell whether it is the right one."""
    return official_names.to_ours(name)


def fill_module(shared: Path) -> ModuleType:
    """The generator of deterministic states and inputs that comes with the golden numbers."""
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segmenter(depth: int, output_stride: int, deeplab_v2: bool = False) -> MemorySegmenter:
    """The network of a golden file: no Gumbel noise, no drop-out."""
    memory = CategoricalMemory(gumbel=False)
    if deeplab_v2:
        backbone = ResNetBackbone(depth, output_stride, stride_in_1x1=True)
        return MemorySegmenter(backbone, memory=memory, dropout=0.0, pyramid=SummedASPP, decoder=PlainDecoder)
    return MemorySegmenter(ResNetBackbone(depth, output_stride), memory=memory, dropout=0.0)


def network_of(meta: dict[str, Any]) -> tuple[MemorySegmenter, str]:
    """The network of a golden file by its released name, and the name of its list of tensors."""
    found = re.fullmatch(r"(?:\w+\.)*DeepR(\d+)V(2|3Plus)D(_OS8)?", meta["arch"])
    assert found, f"unknown network {meta['arch']}"
    depth, v2 = int(found[1]), found[2] == "2"
    stride = 8 if v2 or found[3] else 32 if depth == 18 else 16
    return segmenter(depth, stride, v2), f"r{depth}_{'v2' if v2 else 'v3plus'}"


def load_state(network: MemorySegmenter, shared: Path, keys: str, seed: int, buffers: dict[str, np.ndarray], items: np.ndarray) -> None:
    """Give the network the golden weights, batch-norm buffers and memory items; every tensor must find its place."""
    shapes = json.loads((shared / "golden" / f"state_keys_{keys}.json").read_text())
    state = fill_module(shared).fill_state(shapes, seed) | buffers
    network.load_state_dict(
        {ours(k): torch.from_numpy(np.asarray(v)) for k, v in state.items()} | {"memory.items": torch.from_numpy(items)}
    )


def buffers(golden: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    """The arrays below `prefix`, without it."""
    return {k.removeprefix(prefix): golden[k] for k in golden.files if k.startswith(prefix)}
