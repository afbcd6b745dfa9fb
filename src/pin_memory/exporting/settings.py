"""What is written down with an exported network: how to build it, what it takes and gives, where it comes from."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer

from pin_memory.domains import MultiSourceDataModule
from pin_memory.inference import BatchNormStatistics, Protocol
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.runs.folder import RunFolder
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.labels import LabelSpace
from pin_memory.utils.safe_load import read_json, read_json_or

FORMAT = "pin_memory.network@1"  # marks the settings of an exported network, and their version


class Source(NamedTuple):
    """A checkpoint that is to be exported: its file, the method in eval mode, its record and its domains."""

    path: Path
    method: Method
    checkpoint: checkpoints.Checkpoint
    data: MultiSourceDataModule

    @classmethod
    def read(cls, run_or_checkpoint: Path, trust: list[str]) -> Self:
        """Load the checkpoint of a run folder or a file."""
        path = checkpoints.find_checkpoint(run_or_checkpoint)
        method, checkpoint = checkpoints.load_method(path, trust)  # also checks which classes the settings name
        return cls(path, method, checkpoint, build.build_data(checkpoint.cfg))

    @property
    def run(self) -> RunFolder:
        """The folder of the run that the checkpoint lies in."""
        return RunFolder(self.path.resolve().parent.parent)


class Classes(BaseModel):
    """Names and colours (RGB) of the classes, in the order of their train ids."""

    names: list[str]
    palette: list[tuple[int, int, int]]


class ExportSettings(BaseModel):
    """The settings of an exported network, as they are written in JSON; `stand_in`: some or all data of its run were drawn scenes."""

    model_config = ConfigDict(extra="allow")

    format: Literal["pin_memory.network@1"] = "pin_memory.network@1"
    network: dict[str, Any]
    label_space: Classes
    normalisation: dict[str, tuple[float, float, float]] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}  # RGB in 0..1
    statistics: BatchNormStatistics
    protocol: Protocol
    method: str = ""
    network_name: str = ""
    sources: list[str] = []
    step: int = 0
    images_seen: int = 0
    stand_in: bool = False

    @classmethod
    def of(cls, source: Source, statistics: BatchNormStatistics) -> Self:
        """The settings of a checkpoint whose batch norm shall normalise by `statistics`."""
        checkpoint, method, space = source.checkpoint, source.method, source.checkpoint.label_space
        network = OmegaConf.to_container(checkpoint.cfg.network, resolve=True)
        assert isinstance(network, dict)
        build.without_downloads(network)
        results = source.run.results_of(source.path)
        return cls(
            network={str(key): value for key, value in network.items()},
            label_space=Classes(names=list(space.names), palette=space.palette.tolist()),
            statistics=statistics,
            protocol=method.protocol,
            method=method.name,
            network_name=checkpoint.choices.get("network", type(method.network).__name__),
            sources=checkpoint.sources,
            step=checkpoint.step,
            images_seen=int(method.images_seen),
            # Where the data are gone or others now, the results of the run still have it.
            stand_in=source.data.uses_stand_ins or (results is not None and results.stand_in),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of settings; one of something else, or a damaged one, is a ConfigurationError."""
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: expected the settings of an exported network ({error}).") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise ConfigurationError(f"{path}: expected the settings of an exported network ({FORMAT}), found {found}.")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ConfigurationError(f"{path}: the settings of the exported network are damaged ({reason}). Export it again.") from error

    @property
    def classes(self) -> LabelSpace:
        """What the train ids stand for."""
        return LabelSpace(tuple(self.label_space.names), np.array(self.label_space.palette, np.uint8))

    @field_serializer("protocol")
    def _protocol_as_json(self, protocol: Protocol) -> dict[str, Any]:
        """What scores depend on, and the name."""
        return {"name": protocol.name, "version": protocol.version, **protocol.settings}


def holds_export_settings(path: Path) -> bool:
    """Whether a file holds the settings of an exported network, of this version or another."""
    content = read_json_or(path, None)
    return isinstance(content, dict) and str(content.get("format")).partition("@")[0] == FORMAT.partition("@")[0]
