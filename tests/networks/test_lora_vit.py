"""LoRA and frozen weights on the vision transformers of timm: DINOv2, DINOv3 with and without biases of its own, EVA-02, CLIP."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.methods.frozen_base import BASE
from pin_memory.networks import Lora, VitBackbone
from pin_memory.networks.freezing import is_adapter
from pin_memory.networks.lora import adapted_layers, merge_adapter
from pin_memory.runs import checkpoints
from tests.helpers.resumption import fit
from tests.helpers.vit_networks import NAMES, vit_segmenter


def adapter(name: str, dropout: float = 0.0) -> Lora:
    """Updates of queries, keys and values, and of the first layer behind them."""
    apart = name.startswith("eva02")
    return Lora(rank=2, alpha=4.0, dropout=dropout, targets=[*(["q_proj", "k_proj", "v_proj"] if apart else ["qkv"]), "attn.proj"])


@pytest.mark.parametrize("name", NAMES)
def test_every_family_takes_an_adapter(name: str) -> None:
    """The same features at the start, a gradient for every B, none for the rest, and after merging the same features again."""
    plain = vit_segmenter(name, memory=None)
    adapted = copy.deepcopy(plain)
    adapter(name)(adapted.backbone)
    images = torch.randn(2, 3, 70, 51)
    before = plain.encode(images).features
    torch.testing.assert_close(adapted.train().encode(images).features, before, rtol=1e-5, atol=1e-5)
    adapted.encode(images).features.square().sum().backward()
    learned = {key: value.grad for key, value in adapted.backbone.named_parameters() if value.requires_grad}
    assert all(is_adapter(key) for key in learned)
    assert len(learned) == 2 * len(list(adapted_layers(adapted)))
    assert all(gradient is not None and gradient.abs().max() > 0 for key, gradient in learned.items() if "lora_B" in key)
    for _, layer in adapted_layers(adapted):
        nn.init.normal_(layer.lora_B.get_parameter("weight"), std=0.1)
    with torch.inference_mode():
        expected = adapted.eval().backbone(images).deep
        merge_adapter(adapted)
        assert (adapted.backbone(images).deep - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert adapted.state_dict().keys() == plain.state_dict().keys()
    assert (expected - plain.backbone(images).deep).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize("name", ["vit_nano_patch14_dinov2", "vit_nano_patch16_dinov3_qkvb"])
def test_every_update_has_its_gradient_with_checkpointing(name: str) -> None:
    """With drop-out, on images that need no gradient."""
    found = []
    for checkpointing in (False, True):
        network = vit_segmenter(name, memory=None, checkpointing=checkpointing)
        adapter(name, dropout=0.5)(network.backbone)
        torch.manual_seed(1)
        for _, layer in adapted_layers(network):
            nn.init.normal_(layer.lora_B.get_parameter("weight"), std=0.1)
        network.train().encode(torch.randn(2, 3, 56, 56)).features.square().sum().backward()
        found.append({key: value.grad for key, value in network.named_parameters() if is_adapter(key)})
    assert all(value is not None and value.abs().max() > 0 for value in found[0].values())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items() if value is not None)


@pytest.mark.slow
@pytest.mark.parametrize("way", [["+adapter=lora", "network.adapter.rank=2"], ["+network.backbone.freeze=all"]])
def test_a_training_on_a_file_leaves_small_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: list[str]) -> None:
    """LoRA and a frozen backbone with a resampled patch: loaded again, the backbone is that of the file, bit by bit."""
    monkeypatch.setenv("PIN_MEMORY_CACHE", str(tmp_path / "cache"))
    StandIns(tmp_path / "sets", images_per_domain=8, seed=1, width=160).prepare()
    torch.manual_seed(3)
    torch.save(timm.create_model("vit_nano_patch14_dinov2").state_dict(), tmp_path / "official.pth")
    backbone = f"name:vit_nano_patch14_dinov2,patch_size:16,pretrained:{tmp_path / 'official.pth'}"
    network = [
        "network=vit_linear",
        "network.auxiliary_channels=null",
        f"+network.backbone={{_target_:pin_memory.networks.VitBackbone,{backbone}}}",
    ]
    fit(tmp_path / "sets", tmp_path / "run", *network, *way, "trainer.max_steps=2", "trainer.val_check_interval=2", "optimizer=adamw")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert content[BASE]["file"] == "official.pth"
    kept = [name for name in content["state_dict"] if name.startswith("network.backbone.")]
    assert len(kept) == (8 if "+adapter=lora" in way else 0)
    found = checkpoints.load_method(path).method.network.backbone.state_dict()
    expected = VitBackbone("vit_nano_patch14_dinov2", patch_size=16, pretrained=str(tmp_path / "official.pth")).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
