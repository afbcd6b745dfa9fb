"""Whether an exported graph computes what the network computes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pin_memory.exporting.graph import INPUT, require
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.images import EvalTransform

Size = tuple[int, int, int]
"""Number of images, height, width."""
Runner = Callable[[Tensor], Tensor]


def check_sizes(sizes: Sequence[Sequence[int]], network: MemorySegmenter) -> list[Size]:
    """The sizes to compare at.

    Raises:
        ConfigurationError: None, or one that is no size or not above the output stride of the network.
    """
    stride = network.backbone.output_stride
    if not sizes:
        raise ConfigurationError("sizes=[]: the exported graph must be compared at one size at least.")
    for size in sizes:
        if len(size) != 3 or not all(isinstance(length, int) for length in size) or size[0] < 1 or min(size[1:]) <= stride:
            raise ConfigurationError(
                f"sizes: expected [images, height, width] with height and width above {stride}, this network's output stride, found"
                f" {list(size)}."
            )
    return [(size[0], size[1], size[2]) for size in sizes]


def differences(run: Runner, network: MemorySegmenter, sizes: Sequence[Size], normalise: bool, seed: int = 0) -> dict[Size, float]:
    """Largest absolute difference between the logits of the exported graph and of the network, at each size.

    Args:
        run: The exported graph.
        network: What it was made from, in eval mode; its own code computes the reference.
        sizes: What to compare at.
        normalise: The graph takes uint8 pictures.
        seed: Of the pictures, which are noise of every frequency.
    """
    transform, generator = EvalTransform(), np.random.default_rng(seed)
    found = {}
    for count, height, width in sizes:
        pictures = [_picture(height, width, generator) for _ in range(count)]
        normalised = torch.stack([transform(picture, np.zeros((height, width), np.uint8))[0] for picture in pictures])
        plain = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            expected = network.segment(normalised)
            logits = run(plain if normalise else normalised)
        if logits.shape != expected.shape:
            raise OutputError(f"The exported graph gives logits of {tuple(logits.shape)} instead of {tuple(expected.shape)}.")
        found[count, height, width] = float((logits - expected).abs().max())
    return found


def require_agreement(found: dict[Size, float], tolerance: float, path: Path) -> None:
    """Refuse a graph that computes something else.

    Raises:
        OutputError: A difference is above the tolerance, or not a number.
    """
    if not max(found.values()) <= tolerance:  # also true for NaN
        table = "\n".join(f"  {count} x {height} x {width}: {value:.2g}" for (count, height, width), value in found.items())
        raise OutputError(
            f"The exported graph does not agree with the network, so {path} was not written. Largest difference of the logits, where"
            f" {tolerance:g} is allowed:\n{table}\nAllow more with tolerance=X if these are rounding errors, as of very large logits."
        )


def onnx_runner(path: Path) -> Runner:
    """Run an ONNX file with onnxruntime on the CPU.

    Raises:
        ConfigurationError: onnxruntime is not installed.
    """
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


def _picture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """A picture with coarse and fine structure (H, W, 3) uint8."""
    coarse = generator.integers(0, 256, (-(-height // 16), -(-width // 16), 3)).repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    fine = generator.integers(0, 256, (height, width, 3))
    return ((coarse * 2 + fine) // 3).astype(np.uint8)
