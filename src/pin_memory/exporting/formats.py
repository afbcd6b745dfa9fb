"""The formats of `export` that are graphs, each a file that is compared with the network before it counts as written."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pin_memory.exporting.graph import INPUT, OUTPUT, InferenceGraph, onnx_program, require, traced
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.images import normalize

METADATA = "pin_memory"
"""Key of an ONNX file's metadata, and name (`pin_memory.json`) of an extra file in a torch.export archive, that hold the settings."""
Size = tuple[int, int, int]  # number of images, height, width
Runner = Callable[[Tensor], Tensor]  # an exported graph: images `(B, 3, H, W)` to logits `(B, K, H, W)`


@dataclass(frozen=True)
class Comparison:
    """The sizes at which a graph is compared with its network, and the largest difference of the logits that is allowed."""

    sizes: Sequence[Size]
    tolerance: float

    @classmethod
    def of(cls, network: MemorySegmenter, sizes: Sequence[Sequence[int]], tolerance: float) -> Self:
        """A comparison at one or more sizes, each above the output stride of the network."""
        stride = network.backbone.output_stride
        if not sizes:
            raise ConfigurationError("sizes=[]: the exported graph must be compared at one size at least.")
        for size in sizes:
            if len(size) != 3 or not all(isinstance(length, int) for length in size) or size[0] < 1 or min(size[1:]) <= stride:
                raise ConfigurationError(
                    f"sizes: expected [images, height, width] with height and width above {stride}, this network's output stride, found"
                    f" {list(size)}."
                )
        return cls([(size[0], size[1], size[2]) for size in sizes], tolerance)

    def require_agreement(self, run: Runner, network: MemorySegmenter, normalise: bool, path: Path) -> dict[Size, float]:
        """The largest difference of the logits at each size; a graph that computes something else is refused."""
        found = {size: _difference(run, network, size, normalise) for size in self.sizes}
        if not max(found.values()) <= self.tolerance:  # also true for NaN
            table = "\n".join(f"  {count} x {height} x {width}: {value:.2g}" for (count, height, width), value in found.items())
            raise OutputError(
                f"The exported graph does not agree with the network, so {path} was not written. Largest difference of the logits, where"
                f" {self.tolerance:g} is allowed:\n{table}\n"
                "Allow more with tolerance=X if these are rounding errors, as of very large logits."
            )
        return found


def _difference(run: Runner, network: MemorySegmenter, size: Size, normalise: bool) -> float:
    """Largest absolute difference between the logits of the graph and those of the network itself, in eval mode."""
    generator = np.random.default_rng(0)
    count, height, width = size
    images = [_image(height, width, generator) for _ in range(count)]
    raw = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    normalised = normalize(raw)
    with torch.inference_mode():
        expected = network.segment(normalised)
        logits = run(raw if normalise else normalised)
    if logits.shape != expected.shape:
        raise OutputError(f"The exported graph gives logits of {tuple(logits.shape)} instead of {tuple(expected.shape)}.")
    return float((logits - expected).abs().max())


def _image(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Noise with coarse and fine structure `(H, W, 3)` uint8."""
    coarse = generator.integers(0, 256, (-(-height // 16), -(-width // 16), 3)).repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    fine = generator.integers(0, 256, (height, width, 3))
    return ((coarse * 2 + fine) // 3).astype(np.uint8)


def onnx_runner(path: Path) -> Runner:
    """Run an ONNX file with onnxruntime on the CPU."""
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])


def torch_runner(path: Path) -> Runner:
    """Run a torch.export file by loading it again."""
    module = torch.export.load(path).module()
    return lambda images: module(images.clone())  # no inference tensor, which the loaded graph refuses to guard on


def write_onnx(
    path: Path, network: MemorySegmenter, settings: Mapping[str, Any], normalise: bool, opset: int, comparison: Comparison
) -> dict[Size, float]:
    """Write an ONNX file with the weights in it, and return its largest difference to the network at each size.

    With `normalise` the graph takes uint8 RGB images; the settings travel in the file's metadata.
    """
    require("onnx", "onnxscript", "onnxruntime")
    program = onnx_program(InferenceGraph(network, normalise), opset)
    program.model.metadata_props[METADATA] = _metadata(settings, normalise)
    with report_write_errors(path), atomic_write(path) as temporary:
        program.save(temporary, external_data=False)
        return comparison.require_agreement(onnx_runner(temporary), network, normalise, path)


def write_torch_export(
    path: Path, network: MemorySegmenter, settings: Mapping[str, Any], normalise: bool, comparison: Comparison
) -> dict[Size, float]:
    """Write a torch.export archive, load it again, and return its largest difference to the network at each size."""
    program = traced(InferenceGraph(network, normalise))
    with report_write_errors(path), atomic_write(path) as temporary:
        torch.export.save(program, temporary, extra_files={f"{METADATA}.json": _metadata(settings, normalise)})
        return comparison.require_agreement(torch_runner(temporary), network, normalise, path)


def _metadata(settings: Mapping[str, Any], normalise: bool) -> str:
    """The settings, with what the graph takes and gives, as JSON."""
    values = "uint8 RGB, 0..255" if normalise else "float32 RGB, (value / 255 - mean) / std"
    graph = {
        "input": {"name": INPUT, "shape": ["batch", 3, "height", "width"], "values": values},
        "output": {"name": OUTPUT, "shape": ["batch", "classes", "height", "width"], "values": "float32 logits; arg-max: train ids"},
    }
    return json.dumps({**settings, "graph": graph}, ensure_ascii=False)
