"""A training run of seconds, with everything that a real one leaves."""

import os
import subprocess
import sys
from pathlib import Path

TINY = [
    "network=deeplab_v3plus_resnet18", "network.channels=16", "network.auxiliary_channels=8",
    "optimizer=sgd", "augmentation.crop_size=64", "loading.batch_size=2", "loading.num_workers=0",
    "loading.max_val_images=1", "loading.max_test_images=2", "trainer.max_steps=3", "trainer.val_check_interval=2",
    "trainer.accelerator=cpu", "initialisation.batches=1", "data.stand_in.images_per_domain=8", "data.stand_in.width=160",
]  # fmt: skip
"""Overrides that make `experiment=demo` tiny."""

SAID = "said.txt"
"""What the command printed, next to its `runs`."""


def train_tiny(cwd: Path, *overrides: str) -> Path:
    """Train in `cwd` as a user would, into `cwd/runs/demo/tiny`, and return that folder."""
    cwd.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pin_memory.train", "experiment=demo", *TINY, "hydra.run.dir=runs/demo/tiny", *overrides]
    environment = os.environ | {"WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    (cwd / SAID).write_text(done.stdout + done.stderr)
    return cwd / "runs" / "demo" / "tiny"
