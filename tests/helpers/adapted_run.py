"""Runs of two iterations with LoRA on a frozen backbone of 80,000 weights, which come from a file."""

from pathlib import Path
from typing import Any

import timm
import torch

from tests.helpers.resumption import fit

SHORT = ["trainer.max_steps=2", "trainer.val_check_interval=2", "callbacks.last.every=1"]
ADAPTER = ["+adapter=lora", "network.adapter.targets=[conv_pw,conv_pwl]", "network.adapter.rank=2"]


def write_backbone(path: Path) -> Path:
    """Weights of the backbone in timm's own format."""
    torch.manual_seed(3)
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    return path


def trained(data: Path, run: Path, weights: Path | str, *overrides: str, **options: Any) -> Path:
    """The last checkpoint of a run on the small backbone."""
    backbone = f"+network.backbone={{_target_:pin_memory.networks.TimmBackbone,name:test_efficientnet,pretrained:{weights}}}"
    fit(data, run, *SHORT, backbone, *overrides, **options)
    return run / "checkpoints" / "last.ckpt"
