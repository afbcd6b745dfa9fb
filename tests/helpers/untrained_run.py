"""A run folder whose network was never trained: a second instead of a training, for tests of what is done with a checkpoint."""

import json
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pin_memory.callbacks import AtomicCheckpointIO
from pin_memory.callbacks.run_record import RECORD
from pin_memory.runs import build, checkpoints
from pin_memory.utils.config import config_directory
from tests.helpers.folders import results
from tests.helpers.tiny_run import TINY

TRUST = "trust=[tests]"
"""Loads the backbone of these tests."""
CHECKPOINT = "checkpoints/best.ckpt"


def write_untrained(folder: Path, *overrides: str) -> Path:
    """Write a checkpoint of the tiny demo with the backbone of `tests.helpers.tiny`, all its tensors filled, and results."""
    given = ["experiment=demo", *TINY, f"paths.data={folder / 'data'}", f"paths.run={folder}", *overrides]
    with initialize_config_dir(str(config_directory()), version_base=None):
        cfg = compose("train", given, return_hydra_config=True)
    choices = {key: value for key, value in cfg.hydra.runtime.choices.items() if value and not key.startswith("hydra")}
    OmegaConf.set_struct(cfg, False)
    cfg.network.backbone = {"_target_": "tests.helpers.tiny.TinyBackbone"}
    torch.manual_seed(0)
    method = build.build_method(cfg)
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    memory = method.network.memory
    if memory is not None:
        memory.commit(torch.nn.functional.normalize(torch.randn_like(memory.items), dim=1))
    record = checkpoints.run_record(cfg, choices, folder, build.build_data(cfg))
    content = {"state_dict": method.state_dict(), "global_step": 3, "epoch": 0, RECORD: record | {"source_validation": {}}}
    AtomicCheckpointIO().save_checkpoint(content, folder / CHECKPOINT)
    (folder / "results.json").write_text(json.dumps(results() | {"checkpoint": CHECKPOINT}))
    return folder
