"""The part of a network that predicts, as one graph from image to logits with the memory as constants."""

import copy
import logging
import warnings

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, RotaryEmbeddingDinoV3
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pin_memory.inference import BatchNormStatistics
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.installation import install_hint

INPUT, OUTPUT = "images", "logits"  # names of the graph's input and output
AXES = {0: "batch", 2: "height", 3: "width"}  # the axes of the input that may have any length
_EXAMPLE = (2, 3, 97, 131)  # sizes that nothing is special about: an axis of length 1, say, would become a constant


class InferenceGraph(nn.Module):
    """Logits at the size of the image; with `normalise` of uint8 RGB images, otherwise of normalised float32 ones.

    The network is copied without what only training needs (auxiliary head, alignment, update network, classifier and anchor of the memory);
    the memory items are constants of the graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: MemorySegmenter, normalise: bool = False) -> None:
        super().__init__()
        self.network, self.normalise = copy.deepcopy(network).cpu().float().eval().requires_grad_(False), normalise
        self.network.auxiliary_head = nn.Identity()  # type: ignore[assignment]
        self.network.alignment = None
        if self.network.memory is not None:
            for name in self.network.memory.training_only:
                is_tensor = name in self.network.memory._buffers
                setattr(self.network.memory, name, None if is_tensor else nn.Identity())
        for module in list(self.network.modules()):
            for name, child in module.named_children():
                if isinstance(child, Conv2dSame):
                    setattr(module, name, _SamePadding(child))
                elif isinstance(child, RotaryEmbeddingDinoV3):
                    setattr(module, name, _RotaryPositions(child))
        # As utils.images.normalize does it, so that both give the same numbers.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, K, H, W)` of images `(B, 3, H, W)`."""
        return self.network.segment((images.float() - self.mean) / self.std if self.normalise else images)


def check_exportable(network: MemorySegmenter, statistics: BatchNormStatistics) -> None:
    """Refuse what no graph of constants can do: batch norm by the images at hand, and a memory that is read at random."""
    if statistics.policy != "running":
        raise ConfigurationError(
            f"This run predicts with test_statistics={statistics}: batch norm normalises by the images at hand, which the exported graph"
            " cannot do. Set test_statistics=running to export it with the statistics of training; its predictions are others then."
        )
    if network.memory is not None and network.memory.gumbel_in_evaluation:
        raise ConfigurationError(
            "This run reads its memory with random noise in evaluation, too (network.memory.gumbel_in_evaluation=true), so there are no"
            " fixed logits to export. Export a run without it."
        )


def traced(graph: InferenceGraph) -> ExportedProgram:
    """The graph for any number of images of any height and width above the network's output stride; its network, a copy, is changed."""
    for module in list(graph.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, _DensePooling(child))
    shapes = {INPUT: dict.fromkeys(AXES, Dim.DYNAMIC)}
    return torch.export.export(graph, (_example(graph),), dynamic_shapes=shapes, strict=False)


class _DensePooling(nn.Module):
    """Max pooling with stride 1, of which only the places of a strided one are kept: the same values.

    torch 2.11 binds a graph with strided pooling, or with strided slices, to sizes that leave the same remainder as the example's.
    """

    def __init__(self, pooling: nn.MaxPool2d) -> None:
        super().__init__()
        self.pooling = nn.MaxPool2d(pooling.kernel_size, 1, pooling.padding)
        self.strides = (pooling.stride, pooling.stride) if isinstance(pooling.stride, int) else tuple(pooling.stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool `(B, C, H, W)`."""
        pooled = self.pooling(maps)
        for axis, stride in zip((2, 3), self.strides, strict=True):
            pooled = pooled.index_select(axis, torch.arange(0, pooled.shape[axis], stride, device=maps.device))
        return pooled


class _SamePadding(nn.Module):
    """A strided convolution of timm whose padding, as TensorFlow's, depends on the size of the map: the same values.

    With timm's own arithmetic on the sizes, torch 2.15 takes minutes, and does not save the graph. Here padding and sizes are as in other
    convolutions, and the map is shifted against them.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv
        self.axes = [
            (axis + 2, dilation * (kernel - 1) + 1, stride)
            for axis, (kernel, stride, dilation) in enumerate(zip(conv.kernel_size, conv.stride, conv.dilation, strict=True))
        ]

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve `(B, C, H, W)`."""
        for axis, extent, stride in self.axes:
            length, before = maps.shape[axis], (extent - 1) // 2
            after = extent - 1 - (extent - stride) // 2  # so much that there is something left to shift
            maps = F.pad(maps, [0, 0, before, after] if axis == 2 else [before, after])
            shift = before - (extent - 1 - (length - 1) % stride) // 2
            maps = maps.index_select(axis, torch.arange(length + extent - 1, device=maps.device) + shift)
        conv = self.conv
        return F.conv2d(maps, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


class _RotaryPositions(nn.Module):
    """DINOv3's positions of a grid of any size: the same values.

    timm 1.0.31 turns the sides of the grid into numbers, which binds a graph to those of the example.
    """

    def __init__(self, rotary: RotaryEmbeddingDinoV3) -> None:
        super().__init__()
        self.rotary = rotary

    def get_embed(self, shape: list[int]) -> Tensor:
        """Sines and cosines `(h w, 2 D)` of a grid `(h, w)`."""
        axes = [(torch.arange(side) + 0.5 + self.rotary.grid_offset) / side for side in shape]
        grid = torch.stack(torch.meshgrid(axes, indexing=self.rotary.grid_indexing), dim=-1)
        return torch.cat(self.rotary._get_pos_embed_from_coords((2 * grid - 1).flatten(0, 1)), dim=-1)


def onnx_program(graph: InferenceGraph, opset: int) -> "torch.onnx.ONNXProgram":
    """The graph in ONNX, with the names of `INPUT`, `OUTPUT` and `AXES`."""
    require("onnx", "onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # they report every step, none of which is for the user
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                graph,
                (_example(graph),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: AXES},
                opset_version=opset,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigurationError(f"opset={opset}: torch cannot write this network in it: {str(error).splitlines()[0]}") from error
    assert program is not None
    return program


def require(*packages: str) -> None:
    """Check that optional packages are installed, or say how to install them."""
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigurationError(f"This needs {', '.join(missing)}: {install_hint('export')}.")


def _example(graph: InferenceGraph) -> Tensor:
    return torch.zeros(_EXAMPLE, dtype=torch.uint8 if graph.normalise else torch.float32)
