"""Frozen parts of a backbone: weights that do not learn, and batch norms that keep their running statistics."""

from typing import Literal, Self, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pin_memory.networks.cells import CORNERS, Cells
from pin_memory.networks.checkpointing import blocks_of
from pin_memory.utils.errors import ConfigurationError

Frozen = Literal["none", "stem", "norms", "all"]
ADAPTER = ".lora_"
"""What the names of an adapter's tensors and modules have in them."""
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)


class Backbone(nn.Module):
    """A module that gives features of three depths (`BackboneFeatures`), parts of which can be frozen.

    Attributes:
        channels: Channels of the low-level, auxiliary and deep features.
        output_stride: Input size over deep feature size.
        cells: Where the cells lie on the image.
        early_stages: The modules whose outputs are feature maps `(B, C, h, w)` of strides 4 and 8; empty where there are none.
    """

    channels: tuple[int, int, int]
    output_stride: int
    cells: Cells = CORNERS

    def __init__(self) -> None:
        super().__init__()
        self._frozen: list[str] = []  # names: on several GPUs other batch norms take the place of those that are here now

    @property
    def early_stages(self) -> list[nn.Module]:
        """None, unless a backbone names them."""
        return []

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
            self._frozen = [name for name, module in self.named_modules() if isinstance(module, _NORMS)]
        elif part != "none":
            modules: list[nn.Module] = [self] if part == "all" else _stem(trunk or self)
            self._frozen = [name for name, module in self.named_modules() if any(module is one for one in modules)]
        for name in self._frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it learns but for an adapter."""
        return "" in self._frozen  # its own name

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen parts stay in evaluation mode, but for an adapter's own modules."""
        super().train(mode)
        for part in self._frozen:
            for name, module in self.get_submodule(part).named_modules():
                module.training = mode and is_adapter(name)
        return self


def is_adapter(name: str) -> bool:
    """Whether a tensor or a module of this name belongs to an adapter, which learns next to frozen weights."""
    return ADAPTER in f".{name}"


def _stem(network: nn.Module) -> list[nn.Module]:
    """The children of a network before the first one that holds blocks."""
    children = list(network.children())
    first = next((i for i, child in enumerate(children) if any(True for _ in blocks_of(child))), 0)
    if not first:
        raise ConfigurationError(f"network.backbone.freeze=stem: {type(network).__name__} has no stem that is apart from its stages.")
    return children[:first]
