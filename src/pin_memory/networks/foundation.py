"""Families of pretrained vision transformers: who gives their weights, in which file, under which licence."""

import re
from typing import NamedTuple

import timm
import torch


class Family(NamedTuple):
    """Networks of one origin.

    Attributes:
        title: As papers call it.
        pattern: Of timm's names, the tag of the weights included.
        owner: Who gives the weights.
        licence: Of the weights, as hubs name it, where timm states none or a wrong one; None: what timm states.
        remark: What to know before a download; empty for nothing.
    """

    title: str
    pattern: str
    owner: str
    licence: str | None = None
    remark: str = ""


FAMILIES = (
    Family("DINOv2", r"vit_.*_dinov2", "facebookresearch/dinov2"),
    Family("EUPE", r"vit_.*_dinov3_qkvb\.eupe", "Meta", remark="for non-commercial research only"),
    Family("DINOv3", r"(vit|convnext)_.*dinov3", "facebookresearch/dinov3", remark="on request; what is trained from them stays under it"),
    Family("EVA-02", r"eva02_", "baaivision/EVA"),
    # timm writes Apache-2.0, which is that of its own fine-tuned ones; OpenAI's repository is under MIT and says nothing else of weights.
    Family("CLIP", r"vit_.*_clip_.*\.openai$", "openai/CLIP", "mit"),
)
"""The first whose pattern fits counts."""


def family_of(name: str) -> Family | None:
    """The family of a network by timm's name, with or without the tag of its weights."""
    found = timm.get_pretrained_cfg(name)
    full = f"{found.architecture}.{found.tag}" if found is not None and found.tag else name
    return next((family for family in FAMILIES if re.match(family.pattern, full)), None)


def licence_of(name: str) -> str | None:
    """The licence of the pretrained weights of a network, as hubs name it; None where none is stated."""
    family, found = family_of(name), timm.get_pretrained_cfg(name)
    if family is not None and family.licence:
        return family.licence
    return None if found is None else found.license


def where_to_get(name: str) -> str:
    """One sentence for a message: the files with the weights of a network, from whom, their size and licence."""
    found, family = timm.get_pretrained_cfg(name), family_of(name)
    files = [str(found.url)] if found is not None and found.url else []
    if found is not None and found.hf_hub_id:
        files.append(f"{found.hf_hub_filename or 'model.safetensors'} of {found.hf_hub_id} on the Hugging Face hub")
    if not files:
        return f"timm {timm.__version__} knows no weights of {name}."
    with torch.device("meta"):
        size = 4 * sum(parameter.numel() for parameter in timm.create_model(name).parameters())
    amount = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    owner = f"{family.title} by {family.owner}{', ' + family.remark if family.remark else ''}; " if family else ""
    return f"Get {' or '.join(files)} ({owner}about {amount}, licence {licence_of(name) or 'not stated'})."
