"""What exported graphs are compared with, and the head of a model card."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import yaml

from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Noise (B, 3, H, W) uint8."""
    return np.random.default_rng(height).integers(0, 256, (count, 3, height, width), np.uint8)


def normalised(images: np.ndarray) -> np.ndarray:
    """By the formula of the documentation, in float64."""
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((images / 255 - mean) / std).astype(np.float32)


def session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX file in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits_of(network: MemorySegmenter, images: np.ndarray) -> np.ndarray:
    """The reference: the network itself."""
    with torch.inference_mode():
        return network.segment(torch.from_numpy(normalised(images))).numpy()


def front_matter(card: str) -> dict[str, Any]:
    """The YAML head of a model card."""
    empty, head, _ = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head)
