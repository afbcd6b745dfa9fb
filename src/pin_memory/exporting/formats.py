"""The formats of `export` that are graphs, each a file that is compared with the network before it counts as written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pin_memory.exporting.agreement import Comparison, Size, onnx_runner, torch_runner
from pin_memory.exporting.graph import INPUT, OUTPUT, InferenceGraph, onnx_program, require, traced
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.files import atomic_write, report_write_errors

METADATA = "pin_memory"
"""Key of an ONNX file's metadata, and name (`pin_memory.json`) of an extra file in a torch.export archive, that hold the settings."""


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
