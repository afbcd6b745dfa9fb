"""How alike the memory items are, where they answer in an image, and how they moved in training."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.methods.batches import evaluation_mode
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import normalize
from pin_memory.utils.similarity import similarity, unit_rows


@dataclass(frozen=True)
class MemoryDrift:
    """How the memory items moved."""

    steps: np.ndarray  # (T,) iterations of the records
    to_final: np.ndarray  # (T, K) cosine of each item to the same class's last one, -1..1; NaN before it was first written
    change: np.ndarray  # (T - 1, K) angle between consecutive records in degrees, over the iterations between them


def memory_similarity(items: np.ndarray | Tensor) -> np.ndarray:
    """Cosine similarity of every two memory items; NaN where one has never been written.

    Args:
        items: `(K, C)`.

    Returns:
        `(K, K)` float64 in -1..1.

    Example:
        >>> memory_similarity(np.array([[2.0, 0.0], [1.0, 1.0]])).round(3).tolist()
        [[1.0, 0.707], [0.707, 1.0]]
    """
    return similarity(_array(items))


def class_structure(items: np.ndarray | Tensor) -> np.ndarray:
    """Cosines between class-centred items, which say how the classes lie to each other, wherever that is; NaN where one was never written.

    Args:
        items: `(K, C)`; the mean of those at length 1 is subtracted.

    Returns:
        `(K, K)` float64 in -1..1, as `memory.geometry.gram` where all were written.
    """
    unit = unit_rows(_array(items))
    return similarity(unit - np.nanmean(unit, axis=0)) if np.isfinite(unit).any() else similarity(unit)


def structure_agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two such matrices `(K, K)` over what both have, 1 where the classes lie alike; NaN where they have nothing in common."""
    known = np.isfinite(one) & np.isfinite(other)
    lengths = np.linalg.norm(one[known]) * np.linalg.norm(other[known])
    return float(one[known] @ other[known] / lengths) if lengths > 0 else float("nan")


def memory_drift(steps: np.ndarray, items: np.ndarray) -> MemoryDrift:
    """Follow the memory through the training.

    Args:
        steps: `(T,)` iterations, rising.
        items: `(T, K, C)`, the memory after each (`utils.traces.read_trace` gives both).

    Raises:
        ValueError: Fewer than two records.
    """
    if len(steps) < 2:
        raise ValueError(f"a drift needs two records of the memory at least, found {len(steps)}")
    unit = unit_rows(_array(items))
    to_final = (unit * unit[-1]).sum(axis=-1).clip(-1, 1)
    # The chord, since the arc cosine of nearly equal directions is lost to rounding.
    angle = np.degrees(2 * np.arcsin((np.linalg.norm(unit[1:] - unit[:-1], axis=-1) / 2).clip(0, 1)))
    return MemoryDrift(np.asarray(steps), to_final, angle / np.diff(steps)[:, None])


@torch.inference_mode()
def activation_maps(
    network: MemorySegmenter, image: Tensor, size: tuple[int, int] | None = None, statistics: BatchNormStatistics = RUNNING
) -> np.ndarray:
    """What each memory item answers at each place of an image: cosine similarities (eq. 1 of the paper), or scores of a ridge memory.

    Args:
        network: With a memory.
        image: `(3, H, W)`, uint8 or normalised.
        size: The maps are resized to it, as the cohesion loss does; by default to that of the image.
        statistics: What batch norm normalises by.

    Returns:
        `(K, *size)` float32, in -1..1 if they are cosines.

    Raises:
        TypeError: The network has no memory.
    """
    image = normalize(image.unsqueeze(0).to(network.require_memory().items.device))
    with evaluation_mode(network), statistics.applied(network):
        scores = network.read(network.encode(image).features).similarity
    return network.cells.to_pixels(scores, (image.shape[-2], image.shape[-1]), size)[0].float().cpu().numpy()


def _array(values: np.ndarray | Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float64)
