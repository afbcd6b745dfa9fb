"""The same numbers and the same files as peft, where that is installed: `pip install peft`, which brings transformers and accelerate."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pin_memory.networks import Lora, TimmBackbone
from pin_memory.networks.freezing import Backbone
from pin_memory.networks.lora import trunk_of
from pin_memory.networks.lora_files import CONFIG, TENSORS, adapter_config, adapter_tensors
from tests.helpers.tiny_vit import TinyVit

peft = pytest.importorskip("peft", reason="pip install peft, to compare LoRA with it")

CASES = {"transformer": (TinyVit, ["qkv", "mlp.fc2"]), "convolutions": (lambda: TimmBackbone("test_efficientnet"), ["conv_pw", "conv_exp"])}


def pair(case: str) -> tuple[Backbone, Any, Any]:
    """A backbone with LoRA, the same plain network in peft's hands with the same A and B, and peft's settings."""
    torch.manual_seed(0)
    build, targets = CASES[case]
    backbone = build()
    settings = peft.LoraConfig(r=3, lora_alpha=12, target_modules=targets, lora_dropout=0.0)
    theirs = peft.get_peft_model(copy.deepcopy(trunk_of(backbone)), settings)
    Lora(rank=3, alpha=12.0, dropout=0.0, targets=targets)(backbone)
    for name, value in trunk_of(backbone).named_parameters():
        if "lora_" in name:
            nn.init.normal_(value, std=0.3)
    peft.set_peft_model_state_dict(theirs, adapter_tensors(trunk_of(backbone)))
    return backbone, theirs, settings


def features(network: nn.Module) -> Tensor:
    """What a trunk gives for some images."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain: Any = network.eval()
    plain = getattr(plain, "base_model", plain)
    plain = getattr(plain, "model", plain)
    found = plain.forward_features(images) if hasattr(plain, "forward_features") else plain(images)[-1]
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_peft(case: str) -> None:
    """Of the same A and B on the same weights, to rounding."""
    backbone, theirs, _ = pair(case)
    found, expected = features(trunk_of(backbone)), features(theirs)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found.square().sum().backward()
    expected.square().sum().backward()
    own = {name: value.grad for name, value in trunk_of(backbone).named_parameters() if value.requires_grad}
    other = {name.replace(".default", ""): value.grad for name, value in theirs.named_parameters() if value.requires_grad}
    assert {f"base_model.model.{name}" for name in own} == other.keys() != set()
    for name, value in own.items():
        torch.testing.assert_close(value, other[f"base_model.model.{name}"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_folder_of_ours_is_read_by_peft(case: str, tmp_path: Path) -> None:
    """On the plain network of timm."""
    backbone, theirs, settings = pair(case)
    trunk = trunk_of(backbone)
    layers = sorted({name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in adapter_tensors(trunk)})
    (tmp_path / CONFIG).write_text(adapter_config(layers, 3, 12.0, 0.0, "timm"))
    save_file(adapter_tensors(trunk), tmp_path / TENSORS)
    plain = theirs.unload()
    again = peft.PeftModel.from_pretrained(plain, str(tmp_path))
    torch.testing.assert_close(features(again), features(trunk), rtol=1e-6, atol=1e-6)
    assert settings.target_modules != set(json.loads((tmp_path / CONFIG).read_text())["target_modules"])


@pytest.mark.parametrize("case", CASES)
def test_a_folder_of_peft_is_read_here(case: str, tmp_path: Path) -> None:
    """As peft saves it, with all the settings that it has today."""
    _, theirs, _ = pair(case)
    theirs.save_pretrained(tmp_path)
    torch.manual_seed(0)
    build, targets = CASES[case]
    backbone = build()
    Lora(rank=3, alpha=12.0, dropout=0.0, targets=targets, pretrained=str(tmp_path))(backbone)
    torch.testing.assert_close(features(trunk_of(backbone)), features(theirs), rtol=1e-6, atol=1e-6)
