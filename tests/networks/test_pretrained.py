"""Backbone files as trainings write them: what is unwrapped, and what is refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from pin_memory.networks import ResNetBackbone
from pin_memory.utils.errors import ConfigurationError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def donor() -> State:
    """A ResNet-18's weights, with its classifier."""
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


def other(state: State) -> State:
    return {name: value + 1 for name, value in state.items()}


def named(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def headless(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def own(state: State) -> State:
    """As `ResNetBackbone` names them."""
    renamed = {"conv1.": "stem.0.", "bn1.": "stem.1.", "layer": "stage"}
    return {next(f"{new}{name.removeprefix(old)}" for old, new in renamed.items() if name.startswith(old)): value
            for name, value in headless(state).items()}  # fmt: skip


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "model": lambda s: {"model": s, "epoch": 3},
    "state_dict": lambda s: {"state_dict": s, "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []}},
    "model_state": lambda s: {"model_state": s},
    "teacher": lambda s: {"teacher": named("backbone.", s) | {"head.mlp.0.weight": torch.zeros(2, 2)}},
    "module": lambda s: named("module.", s),
    "backbone in state_dict": lambda s: {
        "meta": {},
        "state_dict": named("backbone.", headless(s)) | {"decode_head.conv.weight": torch.ones(1)},
    },
    "encoder": lambda s: named("encoder.", s),
    "compiled": lambda s: {
        "model": {name.replace("layer1.", "layer1._orig_mod."): value for name, value in named("_orig_mod.", s).items()}
    },
    "nested": lambda s: {"checkpoint": {"model": {"state_dict": named("module.encoder.backbone.", s)}}},
    "momentum contrast, the key's encoder equal": lambda s: {
        "state_dict": named("module.encoder_q.", headless(s)) | named("module.encoder_k.", headless(s)) | {"module.queue": torch.ones(2, 3)}
    },
    "projection in place of the classifier": lambda s: headless(s) | {"fc.0.weight": torch.ones(2, 2), "projector.1.bias": torch.ones(2)},
    "checkpoint of Lightning": lambda s: {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": named("model.", s),
        "optimizer_states": [{}],
        "loops": {"x": torch.ones(1)},
    },
    "checkpoint of this library": lambda s: {
        "state_dict": named("network.backbone.", own(s)) | {"network.memory.items": torch.ones(19, 4)}
    },
    "half precision": lambda s: {"model": {name: value.half() if value.is_floating_point() else value for name, value in s.items()}},
    "without counts of batches": lambda s: {name: value for name, value in s.items() if not name.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_weights_are_unwrapped(tmp_path: Path, donor: State, wrapper: str) -> None:
    """All tensors of the trunk arrive; heads, optimisers and counters are left out."""
    torch.save(WRAPPERS[wrapper](donor), tmp_path / "weights.pth")
    loaded = ResNetBackbone(18, pretrained=str(tmp_path / "weights.pth")).state_dict()
    expected = own(donor)
    assert loaded.keys() == expected.keys()
    for name, value in loaded.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(value, expected[name], atol=1e-3 if wrapper == "half precision" else 0), name


def test_safetensors_are_read(tmp_path: Path, donor: State) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(named("backbone.", donor), tmp_path / "weights.safetensors")
    loaded = ResNetBackbone(18, pretrained=str(tmp_path / "weights.safetensors"))
    assert torch.equal(loaded.stage4[1].conv2.weight, donor["layer4.1.conv2.weight"])


def deeper(depth: int) -> State:
    return torchvision.models.get_model(f"resnet{depth}", weights=None).state_dict()


def test_counts_of_batches_may_be_of_any_type(tmp_path: Path, donor: State) -> None:
    torch.save({name: value.double() for name, value in donor.items()}, tmp_path / "weights.pth")
    loaded = ResNetBackbone(18, pretrained=str(tmp_path / "weights.pth"))
    assert torch.equal(loaded.stage4[1].conv2.weight, donor["layer4.1.conv2.weight"])


REFUSED: dict[str, tuple[Callable[[State], Any], tuple[str, ...]]] = {
    "teacher and student differ": (
        lambda s: {"teacher": named("module.", s), "student": named("module.", other(s))},
        ("several sets", "teacher / module.", "student / module."),
    ),
    "two encoders in one dictionary": (
        lambda s: {"state_dict": named("encoder_q.", s) | named("encoder_k.", other(s))},
        ("several sets", "state_dict / encoder_q.", "state_dict / encoder_k."),
    ),
    "a deeper network": (lambda s: named("module.", deeper(34)), ("of no such network", "layer1.2.conv1.weight", "module.")),
    "bottlenecks": (
        lambda s: {"model": deeper(50)},
        ("model / ", "of another shape", "layer1.0.conv1.weight (64, 64, 1, 1) in place of (64, 64, 3, 3)"),
    ),
    "one channel of input": (
        lambda s: s | {"conv1.weight": torch.ones(64, 1, 7, 7)},
        ("119 of its 120", "1 of another shape", "(64, 1, 7, 7)"),
    ),
    "a stage is missing": (
        lambda s: {"model": {name: value for name, value in s.items() if not name.startswith("layer4.")}},
        ("missing, such as layer4.0.conv1.weight", "model / "),
    ),
    "instance norms within": (lambda s: s | {"layer1.0.bn1.IN.weight": torch.ones(32)}, ("1 of no such network", "layer1.0.bn1.IN.weight")),
    "another architecture": (
        lambda s: {"model": {"patch_embed.proj.weight": torch.ones(2), "blocks.0.attn.qkv.weight": torch.ones(2)}},
        ("2 tensors (model / patch_embed.proj.weight", "no weights of a ResNet"),
    ),
    "no tensors": (lambda s: {"epoch": 3, "args": {}}, ("no tensor (keys: epoch, args)",)),
    "diverged": (lambda s: {"model": s | {"layer1.0.conv1.weight": s["layer1.0.conv1.weight"] * torch.nan}}, ("layer1.0.conv1.weight",)),
    "overflown": (lambda s: s | {"bn1.running_var": s["bn1.running_var"] / 0}, ("infinite", "bn1.running_var")),
    "quantised": (lambda s: {name: value.to(torch.int8) for name, value in s.items()}, ("integers", "conv1.weight")),
    "a list": (lambda s: [1, 2], ("an object of type list",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_certain_is_refused_with_the_cause(tmp_path: Path, donor: State, case: str) -> None:
    made, parts = REFUSED[case]
    torch.save(made(donor), tmp_path / "weights.pth")
    with pytest.raises(ConfigurationError, match="pretrained=null") as refusal:
        ResNetBackbone(18, pretrained=str(tmp_path / "weights.pth"))
    assert str(tmp_path / "weights.pth") in str(refusal.value)
    for part in parts:
        assert part in str(refusal.value)


def test_the_first_blocks_of_a_deeper_network_are_not_taken_for_another(tmp_path: Path) -> None:
    """ResNet-101 has all tensors of ResNet-50, and more."""
    torch.save(deeper(101), tmp_path / "weights.pth")
    with pytest.raises(ConfigurationError, match=r"does not fit ResNet-50: 318 of its 318 .* of no such network, such as layer3\.6"):
        ResNetBackbone(50, pretrained=str(tmp_path / "weights.pth"))
