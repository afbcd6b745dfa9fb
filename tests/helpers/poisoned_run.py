"""Runs of a few iterations with a fault in one of them."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from pin_memory.training.run import train
from pin_memory.utils.config import config_directory
from tests.helpers.tiny_run import TINY

SMALL = ["~network.backbone", "+network.backbone._target_=tests.helpers.tiny.TinyBackbone"]
POISON = "+callbacks.poison._target_=tests.helpers.poison.Poison"


def run(data: Path, folder: Path, *overrides: str, method: str = "pin_the_memory") -> Path:
    """Train four steps on the stand-ins in this process; the run folder, next to which lies what training returned."""
    given = {override.partition("=")[0] for override in overrides}
    tiny = [o for o in TINY if o.partition("=")[0] not in given]
    fixed = ["trainer.max_steps=4", "test=false", "floors=false", "logger=csv", "trainer.log_every_n_steps=1"]
    fixed = [o for o in fixed if o.partition("=")[0] not in given] + SMALL
    places = [f"paths.data={data}", f"paths.run={folder}", "paths.output=unused"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=demo", f"method={method}", *tiny, *fixed, *places, POISON, *overrides])
    (folder.parent / f"{folder.name}.json").write_text(json.dumps(train(cfg, {"network": "tiny"})))
    return folder


def same(first: Any, second: Any) -> bool:
    """Whether nested containers of tensors are equal bit by bit."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    return torch.load(path, weights_only=True)
