"""Names of DINOv2's tensors in Hugging Face's transformers (`Dinov2Model`, with registers or without), turned into the official ones."""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
}
_IN_BLOCK = {
    "attention.attention.query": "attn.q_proj",
    "attention.attention.key": "attn.k_proj",
    "attention.attention.value": "attn.v_proj",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in": "mlp.w12",
    "mlp.weights_out": "mlp.w3",
}
_PATTERN = re.compile(r"(?:(?<=\.)|^)(?:embeddings\.[\w.]+|encoder\.layer\.(\d+)\.([\w.]+)|layernorm\.(weight|bias))$")


def timm_name(name: str) -> str:
    """The official name of a tensor of transformers, with what stands before it; other names stay."""

    def official(found: re.Match[str]) -> str:
        block, inside, norm = found.groups()
        if norm:
            return f"norm.{norm}"
        if block is None:
            return _EMBEDDINGS.get(found[0], found[0])
        for theirs, ours in _IN_BLOCK.items():
            if inside.startswith(theirs):
                inside = inside.replace(theirs, ours)
        return f"blocks.{block}.{inside}"

    return _PATTERN.sub(official, name)


def joined(state: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """The tensors with query, key and value in one, where that is how the network has them."""
    found = dict(state)
    for name in state:
        if not (match := re.fullmatch(r"(.*attn\.)q_proj\.(weight|bias)", name)):
            continue
        whole, parts = f"{match[1]}qkv.{match[2]}", [f"{match[1]}{part}_proj.{match[2]}" for part in "qkv"]
        if whole in expected and all(part in state for part in parts):
            found[whole] = torch.cat([found.pop(part) for part in parts])
    return found
