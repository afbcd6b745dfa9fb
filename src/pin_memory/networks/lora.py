"""LoRA (Hu et al., ICLR 2022): a frozen backbone learns through products of two thin matrices next to its own."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import SkipValidation
from torch import Tensor, nn

from pin_memory.networks.checkpointing import blocks_of
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.lora_files import read_adapter
from pin_memory.utils.errors import ConfigurationError, first_names
from pin_memory.utils.validation import Count, Positive, Share, validated

_SAME = "Conv2dSame"  # timm's convolution that pads by the size of the map; importing it takes most of a second


@validated("network.adapter")
class Lora:
    """Gives layers of a frozen backbone a low-rank update: `W x + alpha / rank * B A x`, of which A and B alone learn.

    The layers keep the names of their own tensors; A and B are called `lora_A` and `lora_B` below them. B starts at zero, so that the
    network starts as it was. In a convolution A has its kernel and stride, B is 1x1.

    Args:
        rank: Rows of A.
        alpha: The update counts alpha / rank.
        dropout: Drop-out probability of what A gets, in training.
        targets: Names of the layers, the last part of them or more: `qkv`, `attn.proj`, `conv_pw`.
        blocks: Indices of the blocks whose layers are meant, negative ones counted from the end; None for all layers.
        pretrained: A folder in peft's format that A and B are read from; None for the start of every training.

    Raises:
        ConfigurationError: A value is out of its range; when it is called also: there is no such layer or block, a layer is of a kind that
            cannot have an update, or the folder does not fit.

    Example:
        `MemorySegmenter(backbone, adapter=Lora(rank=16, targets=["qkv"]))`
    """

    def __init__(
        self,
        rank: Count = 32,
        alpha: Positive = 32.0,
        dropout: Share = 0.1,
        targets: SkipValidation[Sequence[str] | str] = ("qkv",),
        blocks: SkipValidation[Sequence[int] | None] = None,
        pretrained: str | None = None,
    ) -> None:
        self.rank, self.alpha, self.dropout, self.pretrained = rank, alpha, dropout, pretrained
        self.targets = [targets] if isinstance(targets, str) else [str(target) for target in targets]
        self.blocks = None if blocks is None else list(blocks)

    def __call__(self, backbone: Backbone) -> None:
        """Freeze a backbone and adapt its layers."""
        if not isinstance(backbone, Backbone):
            raise ConfigurationError(
                f"network.adapter: expected a backbone that can be frozen, found {type(backbone).__name__}. Derive it from"
                " pin_memory.networks.freezing.Backbone."
            )
        backbone.freeze("all")
        for name, layer in self._chosen(trunk_of(backbone)).items():
            _adapt(name, layer, self.rank, self.alpha / self.rank, self.dropout)
            _call_bias_apart(trunk_of(backbone), name)
        backbone.train(backbone.training)
        if self.pretrained is not None:
            read_adapter(self.pretrained, trunk_of(backbone), self.rank, self.alpha)

    def _chosen(self, trunk: nn.Module) -> dict[str, nn.Module]:
        """The layers that are meant, by their names in the trunk."""
        layers: dict[str, nn.Module] = {name: layer for name, layer in trunk.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
        if self.blocks is not None:
            blocks = list(blocks_of(trunk))
            if not self.blocks or not all(isinstance(i, int) and -len(blocks) <= i < len(blocks) for i in self.blocks):
                raise ConfigurationError(
                    f"network.adapter.blocks={self.blocks}: expected indices of the {len(blocks)} blocks of {type(trunk).__name__}"
                    f" (0 to {len(blocks) - 1}), or null for all layers."
                )
            inside = {module for i in self.blocks for module in blocks[i].modules()}
            layers = {name: layer for name, layer in layers.items() if layer in inside}
        found = {target: {name: layer for name, layer in layers.items() if f".{name}".endswith(f".{target}")} for target in self.targets}
        if absent := [target for target in self.targets if not found[target]] or ([] if found else ["named: targets is empty"]):
            raise ConfigurationError(_no_such_layer(absent, layers, type(trunk).__name__))
        return {name: layer for chosen in found.values() for name, layer in chosen.items()}


class Adapted(nn.Module):
    """A linear or convolutional layer with an update; its class is this one and its own before."""

    weight: nn.Parameter
    lora_A: nn.Module  # noqa: N815 - peft's names, in every file of weights
    lora_B: nn.Module  # noqa: N815
    lora_dropout: nn.Dropout
    scaling: float

    def forward(self, x: Tensor) -> Tensor:
        """`W x + scaling * B A x`, with drop-out before A."""
        return super().forward(x) + self.lora_B(self.lora_A(self.lora_dropout(x))) * self.scaling

    @property
    def rank(self) -> int:
        """Rows of A."""
        return self.lora_A.get_parameter("weight").shape[0]

    def update(self) -> Tensor:
        """What is added to the weight, of its shape, in float64."""
        a, b = (part.get_parameter("weight").detach().double().flatten(1) for part in (self.lora_A, self.lora_B))
        return (self.scaling * (b @ a)).view_as(self.weight)


def adapted_layers(module: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """The layers with an update in a module, with their names."""
    return ((name, layer) for name, layer in module.named_modules() if isinstance(layer, Adapted))


def merge_adapter(network: nn.Module) -> None:
    """Add the updates to the weights, in place, and make the layers what they were before: the same outputs but for round-off."""
    for _, layer in list(adapted_layers(network)):
        layer.weight.data = (layer.weight.data.double() + layer.update()).to(layer.weight.dtype)
        for part in ("lora_A", "lora_B", "lora_dropout"):
            delattr(layer, part)
        layer.__class__ = type(layer).__bases__[1]


def trunk_of(backbone: nn.Module) -> nn.Module:
    """The network that a backbone is made of, whose names for its layers are known outside of this library."""
    net = getattr(backbone, "net", backbone)
    assert isinstance(net, nn.Module)
    return net


def _adapt(name: str, layer: nn.Module, rank: int, scaling: float, dropout: float) -> None:
    """Give a layer an update in place; its own tensors keep their names."""
    down: nn.Module
    up: nn.Module
    if type(layer) is nn.Linear:
        down, up = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=False)
    elif isinstance(layer, nn.Conv2d) and _is_plain(layer):
        kind, shape = type(layer), (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        down = kind(layer.in_channels, rank, *shape, bias=False)  # type: ignore[arg-type] # of one length each
        up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
    else:
        groups = f" of {groups} groups" if (groups := getattr(layer, "groups", 1)) > 1 else ""
        raise ConfigurationError(
            f"network.adapter.targets: {name} is a {type(layer).__name__}{groups}; a low-rank update is defined here for plain linear"
            " layers and convolutions of one group, padded with zeros. Choose other layers."
        )
    nn.init.zeros_(up.weight)  # type: ignore[arg-type]
    weight = layer.weight
    assert isinstance(weight, Tensor)
    layer.lora_A, layer.lora_B = down.to(weight.device, weight.dtype), up.to(weight.device, weight.dtype)
    layer.lora_dropout = nn.Dropout(dropout)
    layer.scaling = scaling  # type: ignore[assignment]
    layer.__class__ = type(f"Adapted{type(layer).__name__}", (Adapted, type(layer)), {})


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution is of one group, padded with zeros if at all, and does nothing else."""
    return (type(layer) is nn.Conv2d or type(layer).__name__ == _SAME) and layer.groups == 1 and layer.padding_mode == "zeros"


def _call_bias_apart(trunk: nn.Module, name: str) -> None:
    """Have timm's attention with a bias next to `qkv` (BEiT, EVA) call that layer: it would read the layer's weight alone."""
    place, _, layer = name.rpartition(".")
    attention = trunk.get_submodule(place)
    if layer == "qkv" and hasattr(attention, "qkv_bias_separate"):
        attention.qkv_bias_separate = True  # type: ignore[assignment]


def _no_such_layer(absent: Sequence[str], layers: dict[str, nn.Module], trunk: str) -> str:
    """What is said of targets that match nothing, with the names that there are."""
    kinds = Counter(re.sub(r".*[._]\d+[._]", "", f"{name}") for name in layers)
    known = [f"{name} ({number})" for name, number in kinds.items()]
    apart = " Queries, keys and values are apart in it: [q_proj,k_proj,v_proj]." if any("q_proj" in name for name in layers) else ""
    return (
        f"network.adapter.targets: {trunk} has no layer {first_names(absent)}.{apart} Its linear layers and convolutions are called"
        f" {first_names(known, 20) or 'nothing: there are none'}."
    )
