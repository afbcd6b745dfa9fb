"""Weights of vision transformers from files in the formats that their owners give them in, and what is said where there are none."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from pin_memory.networks import VitBackbone
from pin_memory.runs.provenance import backbone_licence
from pin_memory.utils.errors import ConfigurationError
from tests.helpers import tiny_vits

State = dict[str, Tensor]
ALL = {name.partition(".")[0]: name for name in tiny_vits.NAMES}


def donor(name: str, size: int | None = None) -> tuple[torch.nn.Module, State]:
    """A network of timm with every weight drawn at random, and its tensors."""
    torch.manual_seed(0)
    options = {"img_size": size} if size else {}
    network = timm.create_model(name, dynamic_img_size=True, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network, {key: value.clone() for key, value in network.state_dict().items()}


def dinov2(state: State) -> State:
    """Meta's file: with mask token and, of the gated perceptron, other names."""
    names = {key: key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3") if "gated" in state else key for key in state}
    return {names[key]: value for key, value in state.items() if key != "gated"} | {"mask_token": torch.ones(1, 16)}


def dinov2_registers(state: State) -> State:
    """Meta's file with registers: the class token has a position."""
    position = torch.full((1, 1, 16), 0.3)
    own = {"register_tokens": state["reg_token"], "cls_token": state["cls_token"] - position}
    rest = {key: value for key, value in state.items() if key not in ("reg_token", "cls_token", "pos_embed")}
    return dinov2(rest | own | {"pos_embed": torch.cat([position, state["pos_embed"]], dim=1)})


def transformers(state: State) -> State:
    """`Dinov2Model`'s file, here behind a prefix: query, key and value apart."""
    found = {
        "dinov2.embeddings.cls_token": state["cls_token"],
        "dinov2.embeddings.mask_token": torch.ones(1, 16),
        "dinov2.embeddings.position_embeddings": state["pos_embed"],
        "dinov2.embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "dinov2.embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "dinov2.layernorm.weight": state["norm.weight"],
        "dinov2.layernorm.bias": state["norm.bias"],
    }
    for block in range(4):
        ours, theirs = f"blocks.{block}.", f"dinov2.encoder.layer.{block}."
        for kind in ("weight", "bias"):
            for part, value in zip(("query", "key", "value"), state[f"{ours}attn.qkv.{kind}"].chunk(3), strict=True):
                found[f"{theirs}attention.attention.{part}.{kind}"] = value.clone()
            found[f"{theirs}attention.output.dense.{kind}"] = state[f"{ours}attn.proj.{kind}"]
            for same in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{theirs}{same}.{kind}"] = state[f"{ours}{same}.{kind}"]
        for scale in (1, 2):
            found[f"{theirs}layer_scale{scale}.lambda1"] = state[f"{ours}ls{scale}.gamma"]
    return found


def dinov3(state: State) -> State:
    """Meta's file: storage tokens, a bias of which the key's third is masked, frequencies of the positions."""
    found = {"mask_token": torch.ones(1, 16), "rope_embed.periods": torch.ones(4), "storage_tokens": state["reg_token"]}
    for key, value in state.items():
        if key.endswith("q_bias"):
            found[key.replace("q_bias", "qkv.bias")] = torch.cat([value, torch.zeros(16), state[key.replace("q_bias", "v_bias")]])
            found[key.replace("q_bias", "qkv.bias_mask")] = torch.ones(48)
        elif not key.endswith("v_bias") and key != "reg_token":
            found[key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    return found


def eva02(state: State) -> State:
    """BAAI's file of masked training: other names of the perceptron, a head for masked patches."""
    names = {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3", "mlp.norm": "mlp.ffn_ln", "fc_norm": "norm"}
    names |= {"q_proj.bias": "q_bias", "v_proj.bias": "v_bias", "attn.norm": "attn.inner_attn_ln"}
    found = {"mask_token": torch.ones(1, 1, 16), "lm_head.weight": torch.ones(9, 16), "lm_head.bias": torch.ones(9)}
    for key, value in state.items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        found[key] = value
    return {"module": found}  # type: ignore[dict-item]


def clip(state: State) -> State:
    """OpenAI's tensors, those of the text among them."""
    names = {"patch_embed.proj": "conv1", "pos_embed": "positional_embedding", "blocks.": "transformer.resblocks.", "norm_pre": "ln_pre"}
    names |= {"qkv.": "in_proj_", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "norm1": "ln_1"}
    found = {"token_embedding.weight": torch.ones(9, 8), "logit_scale": torch.ones(())}
    for key, value in state.items():
        for ours, theirs in (names | {"norm2": "ln_2"}).items():
            key = key.replace(ours, theirs)
        key = key.replace("norm.", "ln_post.") if key.startswith("norm.") else key
        found[f"visual.{key}"] = value
    found["visual.class_embedding"] = found.pop("visual.cls_token")[0, 0]
    found["visual.positional_embedding"] = found["visual.positional_embedding"][0]
    found["visual.proj"] = found.pop("visual.head.weight").T.contiguous()
    del found["visual.head.bias"]
    return found


FORMATS: list[tuple[str, Callable[[State], State]]] = [
    ("vit_nano_patch14_dinov2", dinov2),
    ("vit_nano_patch14_reg4_dinov2", dinov2_registers),
    ("vit_nano_patch14_swiglu_dinov2", lambda state: dinov2(state | {"gated": torch.ones(1)})),
    ("vit_nano_patch14_dinov2", transformers),
    ("vit_nano_patch16_dinov3", dinov3),
    ("vit_nano_patch16_dinov3_qkvb", dinov3),
    ("eva02_nano_patch14_56", eva02),
    ("vit_nano_patch16_clip_64", clip),
    *((name, dict) for name in sorted(ALL)),  # timm's own
]


@pytest.mark.parametrize(("name", "form"), FORMATS, ids=[f"{name}-{getattr(form, '__name__', 'gated')}" for name, form in FORMATS])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_gives_the_features_of_timm_s_own_network(tmp_path: Path, name: str, form: Callable[[State], State], suffix: str) -> None:
    """Read, converted, cut: each depth normalised as timm's network with the same weights gives it."""
    network, state = donor(ALL[name])
    content = form(state)
    if suffix == ".safetensors":
        if "module" in content:
            content = content["module"]  # type: ignore[assignment]
        save_file({key: value.contiguous() for key, value in content.items()}, tmp_path / f"weights{suffix}")
    else:
        torch.save(content, tmp_path / f"weights{suffix}")
    backbone = VitBackbone(name, pretrained=str(tmp_path / f"weights{suffix}")).eval()
    images = torch.randn(2, 3, 5 * backbone.output_stride, 3 * backbone.output_stride)
    with torch.inference_mode():
        if hasattr(network, "fc_norm") and isinstance(network.norm, torch.nn.Identity):
            network.norm = network.fc_norm
        expected = network.forward_intermediates(backbone.for_network(images), norm=True, intermediates_only=True)
        found = backbone(images)
    torch.testing.assert_close(found.deep, torch.cat(expected, dim=1), rtol=1e-6, atol=1e-6)
    assert torch.equal(found.low_level, found.deep[:, :16])
    assert torch.equal(found.auxiliary, found.deep[:, 32:48])


def test_patches_and_positions_are_resampled(tmp_path: Path) -> None:
    """From patches of 14 pixels in 5 x 5 to patches of 16 in 4 x 4, as timm's functions do it; other sizes as timm does in a pass."""
    network, state = donor(ALL["vit_nano_patch14_dinov2"])
    torch.save(dinov2(state), tmp_path / "weights.pth")
    backbone = VitBackbone("vit_nano_patch14_dinov2", patch_size=16, pretrained=str(tmp_path / "weights.pth")).eval()
    own = backbone.net.state_dict()
    torch.testing.assert_close(own["patch_embed.proj.weight"], resample_patch_embed(state["patch_embed.proj.weight"], [16, 16]))
    torch.testing.assert_close(own["pos_embed"], resample_abs_pos_embed(state["pos_embed"], [4, 4], num_prefix_tokens=1))
    assert backbone.output_stride == backbone.cells.patch == 16
    network = timm.create_model("vit_nano_patch14_dinov2", patch_size=16, img_size=64, dynamic_img_size=True).eval()
    network.load_state_dict(own)
    images = torch.randn(1, 3, 48, 80)
    with torch.inference_mode():
        expected = network.forward_intermediates(images, norm=True, intermediates_only=True)
        torch.testing.assert_close(backbone(images).deep, torch.cat(expected, dim=1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("blocks.2.ls1.gamma"), r"Missing key\(s\).*blocks\.2\.ls1\.gamma"),
        (lambda state: state.update({"blocks.2.ls3.gamma": torch.ones(16)}), r"Unexpected key\(s\).*blocks\.2\.ls3\.gamma"),
        (lambda state: state.update({"norm.bias": torch.full((16,), torch.nan)}), r"NaN.*norm\.bias"),
        (lambda state: state.update({"norm.bias": torch.ones(17)}), r"size mismatch for norm\.bias"),
    ],
)
def test_a_tensor_too_few_or_too_many_stops_the_run(tmp_path: Path, change: Callable[[State], object], message: str) -> None:
    """With its name, and where to get the right file."""
    state = dinov2(donor(ALL["vit_nano_patch14_dinov2"])[1])
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ConfigurationError, match=message):
        VitBackbone("vit_nano_patch14_dinov2", pretrained=str(tmp_path / "weights.pth"))


def test_biases_that_timm_would_leave_out_stop_the_run(tmp_path: Path) -> None:
    """DINOv3's are zero in some of its networks; where they are not, another name has them."""
    torch.save(dinov3(donor(ALL["vit_nano_patch16_dinov3_qkvb"])[1]), tmp_path / "weights.pth")
    with pytest.raises(ConfigurationError, match=r"no such bias; set network\.backbone\.name=vit_nano_patch16_dinov3_qkvb"):
        VitBackbone("vit_nano_patch16_dinov3", pretrained=str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_small_patch14_dinov2.lvd142m", r"dinov2_vits14_pretrain\.pth .*by facebookresearch/dinov2; about 88 MB, licence apache-2\.0"),
        ("vit_large_patch14_dinov2", r"dinov2_vitl14_pretrain\.pth .*about 1\.2 GB, licence apache-2\.0"),
        ("vit_small_patch16_dinov3", r"DINOv3 by facebookresearch/dinov3, on request.*licence dinov3-license"),
        ("eva02_base_patch14_224", r"model\.safetensors of timm/eva02_base.*EVA-02 by baaivision/EVA; about 34\d MB, licence mit"),
        ("vit_base_patch16_clip_quickgelu_224.openai", r"CLIP by openai/CLIP; about 34\d MB, licence mit"),
    ],
)
def test_the_message_says_which_file_to_get(name: str, expected: str) -> None:
    """From whom, its size and its licence."""
    with pytest.raises(ConfigurationError, match=rf"there is no file nowhere\.pth.\s.*{expected}"):
        VitBackbone(name, pretrained="nowhere.pth")


def test_weights_that_timm_cannot_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silently random; ImageNet is no word for them."""

    def no_network(*args: object, **options: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", no_network)
    with pytest.raises(ConfigurationError, match=r"Name or service not known.*\nGet .*_pretrain\.pth"):
        VitBackbone("vit_small_patch14_dinov2", pretrained="timm")
    with pytest.raises(ConfigurationError, match=r"pretrained=imagenet.*Set timm"):
        VitBackbone("vit_small_patch14_dinov2", pretrained="imagenet")


@pytest.mark.parametrize(
    ("settings", "licence"),
    [
        ({"name": "vit_small_patch14_dinov2", "pretrained": "timm"}, "apache-2.0"),
        ({"name": "vit_small_patch14_dinov2", "pretrained": "own.pth"}, "apache-2.0"),
        ({"name": "vit_small_patch14_dinov2", "pretrained": None}, None),
        ({"name": "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", "pretrained": "timm"}, "fair-noncommercial-research-license"),
        ({"name": "vit_base_patch16_clip_224.openai", "pretrained": "own.pth"}, "mit"),
        ({"name": "tf_efficientnet_lite0", "pretrained": "imagenet"}, "apache-2.0"),
        ({"name": "tf_efficientnet_lite0", "pretrained": "own.pth"}, None),
        ({"depth": 50, "pretrained": "imagenet"}, None),
    ],
)
def test_the_licence_of_what_a_backbone_began_with(settings: dict[str, object], licence: str | None) -> None:
    """From timm, or from the table where timm has another's."""
    assert backbone_licence(settings) == licence
