"""What is written down with an exported network: how to build it, what it takes and gives, where it comes from."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from pin_memory.domains import MultiSourceDataModule
from pin_memory.exporting.judged import find_results
from pin_memory.inference import BatchNormStatistics, Protocol
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.labels import LabelSpace

FORMAT = "pin_memory.network@1"
"""Marks the settings of an exported network, and their version."""


class Source(NamedTuple):
    """A checkpoint that is to be exported: its file, the method in eval mode, its record and its domains."""

    path: Path
    method: Method
    checkpoint: checkpoints.Checkpoint
    data: MultiSourceDataModule


def read_source(run_or_checkpoint: Path, trust: list[str]) -> Source:
    """Load what is to be exported.

    Raises:
        ConfigurationError: There is no checkpoint of this library.
    """
    path = checkpoints.find_checkpoint(run_or_checkpoint)
    method, checkpoint = checkpoints.load_method(path, trust)  # also checks which classes the settings name
    return Source(path, method, checkpoint, build.build_data(checkpoint.cfg))


def about(source: Source, statistics: BatchNormStatistics) -> dict[str, Any]:
    """The settings of an exported network, as JSON can hold them.

    Args:
        source: What is exported.
        statistics: What batch norm normalises by.
    """
    checkpoint, method = source.checkpoint, source.method
    network = OmegaConf.to_container(checkpoint.cfg.network, resolve=True)
    assert isinstance(network, dict)
    network["backbone"] = network["backbone"] | {"pretrained": None}  # the weights come with it
    return {
        "format": FORMAT,
        "network": network,
        "label_space": {"names": list(checkpoint.label_space.names), "palette": checkpoint.label_space.palette.tolist()},
        "normalisation": {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
        "statistics": dataclasses.asdict(statistics),
        "protocol": {"name": method.protocol.name, "version": method.protocol.version} | method.protocol.settings,
        "method": method.name,
        "network_name": checkpoint.choices.get("network", type(method.network).__name__),
        "sources": checkpoint.sources,
        "step": checkpoint.step,
        "images_seen": int(method.images_seen),
        # Where the data are gone or others now, the results of the run still tell.
        "stand_in": source.data.uses_stand_ins or any(result.get("stand_in") for result in find_results(source.path, None)),
    }


def is_about(path: Path) -> bool:
    """Whether a file holds what `about` returns, of this version or another."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and str(content.get("format")).partition("@")[0] == FORMAT.partition("@")[0]


def check_replaceable(path: Path) -> None:
    """Refuse to write settings over a file of somebody else.

    Raises:
        OutputError: There is one that holds no settings of an exported network.
    """
    if path.exists() and not is_about(path):
        raise OutputError(
            f"{path} is there and holds no settings of an exported network ({FORMAT}); it is left as it is. Choose another output, or"
            " move it away."
        )


class Described(NamedTuple):
    """What the settings of an exported network describe."""

    network: Mapping[str, Any]
    label_space: LabelSpace
    statistics: BatchNormStatistics
    protocol: Protocol


def read_about(content: Any, path: Path) -> Described:
    """Read what `about` has written.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ConfigurationError(f"{path}: expected the settings of an exported network ({FORMAT}), found {found}.")
    try:
        space = LabelSpace(tuple(content["label_space"]["names"]), np.array(content["label_space"]["palette"], np.uint8))
        return Described(content["network"], space, BatchNormStatistics(**content["statistics"]), Protocol(**content["protocol"]))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ConfigurationError(f"{path}: the settings of the exported network are damaged ({error!r}). Export it again.") from error
