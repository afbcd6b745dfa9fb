"""Help for tests against the golden numbers in ../shared/golden: names, weights and digests of the authors' released code."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from pin_memory.memory import CategoricalMemory
from pin_memory.networks import MemorySegmenter, ResNetBackbone

_PREFIXES = {
    "layer0.0": "backbone.stem.0",
    "layer0.1": "backbone.stem.1",
    "aspp.features": "aspp.branches",
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
} | {f"layer{i}": f"backbone.stage{i}" for i in range(1, 5)}


def ours(name: str) -> str:
    """The name here of a tensor of the released networks."""
    prefix = next(p for p in _PREFIXES if name.startswith(f"{p}."))
    return _PREFIXES[prefix] + name[len(prefix) :]


def fill_module(shared: Path) -> ModuleType:
    """The generator of deterministic states and inputs that comes with the golden numbers."""
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segmenter(depth: int, output_stride: int) -> MemorySegmenter:
    """The network of a golden file: no Gumbel noise, no drop-out."""
    memory = CategoricalMemory(gumbel=False)
    backbone = ResNetBackbone(depth, output_stride)
    return MemorySegmenter(backbone, memory=memory, dropout=0.0)


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
