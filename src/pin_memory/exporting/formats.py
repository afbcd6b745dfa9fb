"""The formats of `export`, each a file that is compared with the network before it counts as written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pin_memory.exporting.agreement import Size, differences, onnx_runner, require_agreement, torch_runner
from pin_memory.exporting.graph import INPUT, OUTPUT, InferenceGraph, onnx_program, require, traced
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.files import atomic_write, report_write_errors

ABOUT = "pin_memory"
"""Key of an ONNX file's metadata, and name (`pin_memory.json`) of an extra file in a torch.export archive, that hold the settings."""


def write_onnx(
    path: Path, network: MemorySegmenter, settings: Mapping[str, Any], normalise: bool, opset: int, sizes: Sequence[Size], tolerance: float
) -> dict[Size, float]:
    """Write an ONNX file that onnxruntime has been seen to agree with.

    Args:
        path: The file to write, whole or not at all; the weights are in it.
        network: In eval mode.
        settings: What `about` returned; they travel in the file's metadata.
        normalise: The graph takes uint8 RGB pictures and normalises them itself.
        opset: Version of the ONNX operators.
        sizes: What to compare at.
        tolerance: Largest difference of the logits that is allowed.

    Returns:
        The largest difference at each size.

    Raises:
        OutputError: The file cannot be written, or does not agree.
        ConfigurationError: A package is missing.
    """
    require("onnx", "onnxscript", "onnxruntime")
    program = onnx_program(InferenceGraph(network, normalise), opset)
    program.model.metadata_props[ABOUT] = _text(settings, normalise)
    with report_write_errors(path), atomic_write(path) as temporary:
        program.save(temporary, external_data=False)
        found = differences(onnx_runner(temporary), network, sizes, normalise)
        require_agreement(found, tolerance, path)
    return found


def write_torch_export(
    path: Path, network: MemorySegmenter, settings: Mapping[str, Any], normalise: bool, sizes: Sequence[Size], tolerance: float
) -> dict[Size, float]:
    """Write a torch.export archive that has been loaded again and seen to agree; arguments as of `write_onnx`.

    Returns:
        The largest difference at each size.

    Raises:
        OutputError: The file cannot be written, or does not agree.
    """
    program = traced(InferenceGraph(network, normalise))
    with report_write_errors(path), atomic_write(path) as temporary:
        torch.export.save(program, temporary, extra_files={f"{ABOUT}.json": _text(settings, normalise)})
        found = differences(torch_runner(temporary), network, sizes, normalise)
        require_agreement(found, tolerance, path)
    return found


def _text(settings: Mapping[str, Any], normalise: bool) -> str:
    """The settings, with what the graph takes and gives."""
    values = "uint8 RGB, 0..255" if normalise else "float32 RGB, (value / 255 - mean) / std"
    graph = {
        "input": {"name": INPUT, "shape": ["batch", 3, "height", "width"], "values": values},
        "output": {"name": OUTPUT, "shape": ["batch", "classes", "height", "width"], "values": "float32 logits; arg-max: train ids"},
    }
    return json.dumps({**settings, "graph": graph}, ensure_ascii=False)
