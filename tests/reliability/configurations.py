"""Settings of an experiment with one odd value, checked as `train` does before the first step."""

import random
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pin_memory.runs.build import build_without_weights
from pin_memory.train import main
from pin_memory.training import run
from pin_memory.training.checks import check_settings
from pin_memory.training.trainer import build_trainer
from pin_memory.utils.config import config_directory
from tests.helpers.tiny_run import TINY
from tests.reliability.cases import VALID

_SETTINGS = [setting for setting in TINY if not setting.startswith("data.stand_in")]
_VALUES = (
    "-1",
    "0",
    "1000000000",
    "1e30",
    "1.5",
    ".nan",
    ".inf",
    "null",
    "true",
    "abc",
    "''",
    "[]",
    "[1,2,3]",
    "{}",
    "{a: 1}",
    "../../x",
    "'${seed}'",
)
_ROOMS = ("loading", "augmentation", "network", "optimizer", "schedule", "method", "trainer", "data.validate", "split", "seed", "selection",
          "test_statistics", "initialisation", "protocol")  # fmt: skip
_UNKNOWN = ("loading.batchsize=2", "netwrok=x", "method=unknown", "+loading.more=1", "~network.channels", "experiment=nowhere",
            "data.sources.gtav._target_=os.system", "network._target_=pin_memory.nothing", "trainer._target_=builtins.print",
            "domain@data.sources.gtav=nowhere", "data.sources=null", "loading=[1", "a" * 5000 + "=1", "seed=" + "[" * 300)  # fmt: skip


def composed(*overrides: str, data: Path | None = None) -> Any:
    """The demo at tiny size."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        base = ["experiment=demo", *_SETTINGS, "data.stand_in=null", *([] if data is None else [f"paths.data={data}"])]
        return compose("train", [*base, *overrides])


def keys() -> list[str]:
    """The dotted names of the settings that numbers, names and ranges stand in."""

    def below(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict) or not node:
            return [prefix]
        return [key for name, part in node.items() for key in below(part, f"{prefix}.{name}")]

    cfg = OmegaConf.to_container(composed(), resolve=False)
    assert isinstance(cfg, dict)
    found = []
    for room in _ROOMS:
        node: Any = cfg
        for part in room.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        found += [key for key in below(node, room) if not key.rpartition(".")[2].startswith("_")]
    return found


def odd_override(draw: random.Random) -> str:
    """One setting with a value of another kind or size, or a setting that there is not."""
    if draw.random() < 0.2:
        return draw.choice(_UNKNOWN)
    return f"{draw.choice(keys())}={draw.choice(_VALUES)}"


def checked_with(override: str, data: Path, folder: Path) -> str:
    """Compose, and make the checks that training makes before its first step."""
    cfg = composed(override, data=data)
    cfg.paths.run, cfg.paths.output = str(folder / "run"), str(folder)
    check_settings(cfg)
    run._checked_method(cfg, run._checked_data(cfg), build_trainer(cfg, [], []), build_without_weights(cfg))
    assert not (folder / "run").exists()  # nothing is written before all is checked
    return VALID


def shown_with(folder: Path) -> str:
    """Show the settings of the experiment `own` of a folder of one's own, through the command."""
    arguments = ["train", "experiment=own", "hydra.run.dir=.", "--config-dir", str(folder), "--cfg", "job"]
    with mock.patch.object(sys, "argv", arguments):
        main()
    return VALID
