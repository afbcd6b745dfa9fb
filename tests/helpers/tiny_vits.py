"""Vision transformers of timm of four families, a few thousand weights each, known to timm by name once this is imported."""

from typing import Any

from timm.models import eva, generate_default_cfgs, register_model, vision_transformer

_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def _cfg(size: int, **options: Any) -> dict[str, Any]:
    common = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "first_conv": "patch_embed.proj", "classifier": "head"}
    return common | {"input_size": (3, size, size), "num_classes": 0} | options


default_cfgs = generate_default_cfgs(
    {
        "vit_nano_patch14_dinov2.lvd142m": _cfg(70, license="apache-2.0"),
        "vit_nano_patch14_reg4_dinov2.lvd142m": _cfg(70, license="apache-2.0"),
        "vit_nano_patch14_swiglu_dinov2.lvd142m": _cfg(70, license="apache-2.0"),
        "vit_nano_patch16_dinov3.lvd1689m": _cfg(64, license="dinov3-license"),
        "vit_nano_patch16_dinov3_qkvb.lvd1689m": _cfg(64, license="dinov3-license"),
        "eva02_nano_patch14_56.mim_in22k": _cfg(56, license="mit", **_CLIP),
        "vit_nano_patch16_clip_64.openai": _cfg(64, num_classes=12, license="apache-2.0", **_CLIP),
    }
)
NAMES = sorted(default_cfgs)
_SMALL: dict[str, Any] = {"embed_dim": 16, "depth": 4, "num_heads": 2}


@register_model
def vit_nano_patch14_dinov2(pretrained: bool = False, **options: Any) -> Any:
    """DINOv2: layer scale, patches of 14."""
    arguments = _SMALL | {"patch_size": 14, "img_size": 70, "init_values": 1e-5}
    return vision_transformer._create_vision_transformer("vit_nano_patch14_dinov2", pretrained, **(arguments | options))


@register_model
def vit_nano_patch14_reg4_dinov2(pretrained: bool = False, **options: Any) -> Any:
    """The same with registers, which have no position."""
    arguments = _SMALL | {"patch_size": 14, "img_size": 70, "init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
    return vision_transformer._create_vision_transformer("vit_nano_patch14_reg4_dinov2", pretrained, **(arguments | options))


@register_model
def vit_nano_patch14_swiglu_dinov2(pretrained: bool = False, **options: Any) -> Any:
    """DINOv2 g's gated perceptron."""
    own = {"mlp_layer": vision_transformer.SwiGLUPacked, "act_layer": vision_transformer.nn.SiLU, "mlp_ratio": 4}
    arguments = _SMALL | {"patch_size": 14, "img_size": 70, "init_values": 1e-5} | own
    return vision_transformer._create_vision_transformer("vit_nano_patch14_swiglu_dinov2", pretrained, **(arguments | options))


def _dinov3(variant: str, pretrained: bool, options: dict[str, Any]) -> Any:
    arguments = _SMALL | {
        "patch_size": 16, "img_size": 64, "dynamic_img_size": True, "qkv_bias": False, "init_values": 1e-5, "rope_type": "dinov3",
        "rope_temperature": 100, "use_rot_pos_emb": True, "use_abs_pos_emb": False, "rope_rotate_half": True, "use_fc_norm": False,
        "num_reg_tokens": 4, "norm_layer": eva.partial(eva.LayerNorm, eps=1e-5),
    }  # fmt: skip
    return eva._create_eva(variant, pretrained, **(arguments | options))


@register_model
def vit_nano_patch16_dinov3(pretrained: bool = False, **options: Any) -> Any:
    """DINOv3: rotary positions, registers."""
    return _dinov3("vit_nano_patch16_dinov3", pretrained, options)


@register_model
def vit_nano_patch16_dinov3_qkvb(pretrained: bool = False, **options: Any) -> Any:
    """The same with biases of query and value."""
    return _dinov3("vit_nano_patch16_dinov3_qkvb", pretrained, {"qkv_bias": True} | options)


@register_model
def eva02_nano_patch14_56(pretrained: bool = False, **options: Any) -> Any:
    """EVA-02 as its larger ones: query, key and value apart, gated perceptron, rotary positions, norm behind the pooling."""
    arguments = _SMALL | {
        "patch_size": 14, "img_size": 56, "qkv_fused": False, "mlp_ratio": 4 * 2 / 3, "swiglu_mlp": True, "scale_mlp": True,
        "use_rot_pos_emb": True, "ref_feat_shape": (16, 16),
    }  # fmt: skip
    return eva._create_eva("eva02_nano_patch14_56", pretrained, **(arguments | options))


@register_model
def vit_nano_patch16_clip_64(pretrained: bool = False, **options: Any) -> Any:
    """CLIP's image tower: a norm before the blocks, a projection as classifier."""
    arguments = _SMALL | {"patch_size": 16, "img_size": 64, "pre_norm": True, "norm_layer": eva.partial(eva.LayerNorm, eps=1e-5)}
    return vision_transformer._create_vision_transformer("vit_nano_patch16_clip_64", pretrained, **(arguments | options))
