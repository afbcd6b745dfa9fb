"""Weights as safetensors, which hold no code, next to the settings that rebuild the network and say where it comes from, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import hydra.utils
import numpy as np
import torch
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer

from pin_memory.domains import MultiSourceDataModule
from pin_memory.exporting.graph import require
from pin_memory.inference import BatchNormStatistics, Predictor, Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.methods import Method
from pin_memory.networks import MemorySegmenter
from pin_memory.networks.lora import merge_adapter
from pin_memory.runs import build, checkpoints
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.names import network_name
from pin_memory.runs.support import support_digest, take_support
from pin_memory.runs.trusted import trusted_settings
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write, report_write_errors, write_text
from pin_memory.utils.images import IMAGENET_MEAN, IMAGENET_STD
from pin_memory.utils.labels import LabelSpace
from pin_memory.utils.safe_load import read_json, read_json_or

WEIGHTS, SETTINGS = "model.safetensors", "config.json"
"""Names in a folder for a model hub; elsewhere the settings of `FILE.safetensors` are `FILE.json`."""
SUFFIX = ".safetensors"
FORMAT = "pin_memory.network@1"  # marks the settings of an exported network, and their version


class Source(NamedTuple):
    """A checkpoint that is to be exported: its file, the method in eval mode, its record and its domains."""

    path: Path
    method: Method
    checkpoint: checkpoints.Checkpoint
    data: MultiSourceDataModule
    support: str | None = None  # of a few-shot network: the SHA-256 of the labelled images that its head is fitted to

    @classmethod
    def read(cls, run_or_checkpoint: Path, trust: list[str], pretrained: str | None = None) -> Self:
        """Load the checkpoint of a run folder or a file, its adapter merged; `pretrained` as `load_method` takes it."""
        path = checkpoints.find_checkpoint(run_or_checkpoint)
        method, checkpoint = checkpoints.load_method(path, trust, pretrained)  # also checks which classes the settings name
        method.network.alignment = None  # serves training alone
        merge_adapter(method.network)
        return cls(path, method, checkpoint, build.build_data(checkpoint.cfg))

    def with_support(self, folder: str, statistics: BatchNormStatistics) -> Self:
        """A few-shot network with a head for the classes of a support, fitted to features that are normalised by `statistics`."""
        self.method.test_statistics = statistics
        checkpoint = self.checkpoint._replace(label_space=take_support(self.method, folder))
        return self._replace(checkpoint=checkpoint, support=support_digest(folder))

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
    support: str | None = None  # SHA-256 of the labelled images that the head of a few-shot network was fitted to

    @classmethod
    def of(cls, source: Source, statistics: BatchNormStatistics) -> Self:
        """The settings of a checkpoint whose batch norm shall normalise by `statistics`."""
        checkpoint, method, space = source.checkpoint, source.method, source.checkpoint.label_space
        network = OmegaConf.to_container(checkpoint.cfg.network, resolve=True)
        assert isinstance(network, dict)
        build.without_downloads(network)
        for name in ("alignment", "adapter"):  # of which nothing is left
            network.pop(name, None)
        if source.support:  # it has the classes of the support, not those of its training
            network["num_classes"] = network["memory"]["num_classes"] = len(space)
        results = source.run.results_of(source.path)
        return cls(
            network={str(key): value for key, value in network.items()},
            label_space=Classes(names=list(space.names), palette=space.palette.tolist()),
            statistics=statistics,
            protocol=method.protocol,
            method=method.name,
            network_name=network_name(method.network, checkpoint.choices),
            sources=checkpoint.sources,
            step=checkpoint.step,
            images_seen=int(method.images_seen),
            # Where the data are gone or others now, the results of the run still have it.
            stand_in=source.data.uses_stand_ins or (results is not None and results.stand_in),
            support=source.support,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of settings; one of something else, or a damaged one, is a ConfigurationError."""
        try:
            content = read_json(path)
        except PermissionError as error:
            raise ConfigurationError(f"{path} cannot be read ({error.strerror}).") from error
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


def find_weights(path: Path) -> Path | None:
    """The safetensors file meant by a file or a folder; None where it means something else."""
    if path.suffix == SUFFIX and path.is_file():
        return path
    return path / WEIGHTS if (path / WEIGHTS).is_file() else None


def write_safetensors(path: Path, network: MemorySegmenter, settings: ExportSettings) -> Path:
    """Write weights to `FILE.safetensors` and settings to `FILE.json` next to it, and return the latter's path."""
    if path.name == WEIGHTS and holds_export_settings(path.with_name(SETTINGS)):
        raise OutputError(f"output={path}: these are the weights of the hub folder {path.parent}. Set format=hub, or choose another name.")
    settings_file = path.with_suffix(".json")
    write_pair(path, settings_file, network, settings)
    return settings_file


def write_pair(weights: Path, settings_file: Path, network: MemorySegmenter, settings: ExportSettings) -> None:
    """Write parameters and buffers, the memory among them, and the settings, each file completely or not at all."""
    require("safetensors")
    from safetensors.torch import save

    if settings_file.exists() and not holds_export_settings(settings_file):  # of somebody else
        raise OutputError(
            f"{settings_file} exists and holds no settings of an exported network ({FORMAT}); it is left as it is. Choose another output,"
            " or move it away."
        )
    content = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, metadata={"format": "pt"})
    with report_write_errors(weights):
        with atomic_write(weights) as temporary:
            temporary.write_bytes(content)
        write_text(settings_file, settings.model_dump_json(indent=2) + "\n")


def load_safetensors(
    path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), protocol: Protocol | str | None = None
) -> Predictor:
    """Load an exported network for prediction, as `load_model` does a run.

    Args:
        path: `FILE.safetensors` with its settings next to it, or a folder for a model hub.
        device: Where it shall run.
        trust: Packages besides this library whose classes the settings may name; loading calls them.
        protocol: How it is applied to an image, or the name of a protocol of conf/protocol; None for the one of its run.

    Returns:
        What segments images: `.predict(rgb)`, `.probabilities(rgb)`, `.segment(images)`.

    Raises:
        ConfigurationError: There are no such files, they are damaged, name classes that are not trusted, or do not fit each other.

    Example:
        `load_safetensors("exported/model.safetensors").predict(rgb)`
    """
    require("safetensors")
    weights = find_weights(Path(path).expanduser())
    if weights is None:
        raise ConfigurationError(f"{path}: expected a {SUFFIX} file, or a folder with {WEIGHTS}.")
    settings_file = weights.with_suffix(".json")
    if weights.name == WEIGHTS and not settings_file.is_file():  # in a hub folder
        settings_file = weights.with_name(SETTINGS)
    settings = ExportSettings.read(settings_file)
    checked = trusted_settings({"network": settings.network}, settings_file, trust)
    build.without_downloads(checked)
    network = build.rebuilt(lambda: hydra.utils.instantiate(OmegaConf.create(checked).network), settings_file)
    if not isinstance(network, MemorySegmenter):
        raise ConfigurationError(f"{settings_file}: expected a MemorySegmenter, found {type(network).__name__}.")
    _load_tensors(network, weights)
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return Predictor(network, device, settings.classes, settings.statistics, chosen or settings.protocol)


def _load_tensors(network: MemorySegmenter, weights: Path) -> None:
    """Load the tensors of a safetensors file, which have to be exactly those of the network."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(network, weights, strict=True)
    except PermissionError as error:
        raise ConfigurationError(f"{weights} cannot be read ({error.strerror}).") from error
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{weights} is not a readable safetensors file ({error}). Is it complete?") from error
    except RuntimeError as error:
        raise ConfigurationError(f"{weights} does not fit its settings: {' '.join(str(error).split())}") from error
