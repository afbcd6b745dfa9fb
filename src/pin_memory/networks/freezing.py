"""Frozen parts of a backbone: weights that do not learn, and batch norms that keep their running statistics."""

from collections.abc import Iterator
from typing import Any, Literal, Self, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pin_memory.networks.checkpointing import checkpointed
from pin_memory.utils.errors import ConfigurationError

Frozen = Literal["none", "stem", "norms", "all"]
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


class Backbone(nn.Module):
    """A module that gives features of three depths (`BackboneFeatures`), parts of which can be frozen.

    Attributes:
        channels: Channels of the low-level, auxiliary and deep features.
        output_stride: Input size over deep feature size.
    """

    channels: tuple[int, int, int]
    output_stride: int

    def __init__(self) -> None:
        super().__init__()
        self._frozen: list[nn.Module] = []

    def freeze(self, part: str, trunk: nn.Module | None = None) -> None:
        """Keep the weights of a part and its running statistics as they are.

        Args:
            part: `none`, `stem` (what comes before the first stage), `norms` (of all kinds), or `all`.
            trunk: The module whose children are stem and stages; by default this one.

        Raises:
            ConfigurationError: There is no such part.
        """
        if part not in get_args(Frozen):
            raise ConfigurationError(f"network.backbone.freeze={part}: expected one of {', '.join(get_args(Frozen))}.")
        if part == "norms":
            self._frozen = [module for module in self.modules() if isinstance(module, _NORMS)]
        elif part != "none":
            self._frozen = [self] if part == "all" else _stem(trunk or self)
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            for module in part.modules():
                module.training = False
        return self


def _stem(network: nn.Module) -> list[nn.Module]:
    """The children of a network before the first one that holds blocks."""
    children = list(network.children())
    first = next((i for i, child in enumerate(children) if any(True for _ in _blocks(child))), 0)
    if not first:
        raise ConfigurationError(f"network.backbone.freeze=stem: {type(network).__name__} has no stem that could be told from its stages.")
    return children[:first]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost elements of sequences that have parts of their own: residual blocks, inverted bottlenecks, transformer layers."""
    for child in module.children():
        inner = list(_blocks(child))
        if inner:
            yield from inner
        elif isinstance(module, nn.Sequential | nn.ModuleList) and _is_composite(child):
            yield child


def _is_composite(module: nn.Module) -> bool:
    """Whether a module is more than a layer or a chain of layers."""
    return not isinstance(module, nn.Sequential) and sum(1 for child in module.children() if any(True for _ in child.parameters())) > 1


def checkpoint_blocks(network: nn.Module) -> None:
    """Let every block keep its input alone; the names of its tensors stay as they are.

    Raises:
        ConfigurationError: The network has no blocks.
    """
    blocks = list(_blocks(network)) or [stage for stage in network.children() if _is_composite(stage)]
    if not blocks:
        raise ConfigurationError(f"network.backbone.checkpointing: {type(network).__name__} has no blocks that could be computed again.")
    for block in blocks:
        block.__class__ = _checkpointed_class(type(block))


class _Checkpointed(nn.Module):
    """A block that computes its activations again in the backward pass."""

    def forward(self, *inputs: Any, direct: bool = False) -> Any:
        """Run the block, `direct` from inside."""
        return super().forward(*inputs) if direct else checkpointed(self, *inputs, direct=True)


def _checkpointed_class(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a block, checkpointed."""
    return type(f"Checkpointed{kind.__name__}", (_Checkpointed, kind), {})
