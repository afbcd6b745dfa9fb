"""Weights as safetensors, which hold no code, beside the settings that rebuild the network, as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
import torch
from torch import Tensor

from pin_memory.exporting.graph import require
from pin_memory.exporting.settings import check_replaceable, is_about, read_about
from pin_memory.inference import Predictor, Protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.build import rebuilt, without_downloads
from pin_memory.runs.trusted import checked_settings
from pin_memory.utils.documents import read_json
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write, report_write_errors, write_text

WEIGHTS, SETTINGS = "model.safetensors", "config.json"
"""Names in a folder for a model hub; elsewhere the settings of `FILE.safetensors` are `FILE.json`."""
SUFFIX = ".safetensors"


def find_weights(path: Path) -> Path | None:
    """The safetensors file meant by a file or a folder; None where it means something else."""
    if path.suffix == SUFFIX and path.is_file():
        return path
    return path / WEIGHTS if (path / WEIGHTS).is_file() else None


def write_safetensors(path: Path, network: MemorySegmenter, settings: Mapping[str, Any]) -> Path:
    """Write the weights to `FILE.safetensors` and the settings to `FILE.json` beside it.

    Args:
        path: `FILE.safetensors`.
        network: Parameters and buffers, the memory among them, are written as they are.
        settings: What `about` returned.

    Returns:
        The file of the settings.

    Raises:
        OutputError: The settings would replace a file of somebody else, the weights those of a hub folder, or a file cannot be written.
        ConfigurationError: safetensors is not installed.
    """
    hub = path.with_name(SETTINGS)
    if path.name == WEIGHTS and is_about(hub):
        raise OutputError(f"output={path}: these are the weights of the hub folder {path.parent}. Say format=hub, or choose another name.")
    beside = path.with_suffix(".json")
    write_pair(path, beside, network, settings)
    return beside


def write_pair(weights: Path, beside: Path, network: MemorySegmenter, settings: Mapping[str, Any]) -> None:
    """Write weights and settings, each file whole or not at all; arguments as of `write_safetensors`.

    Raises:
        OutputError: The settings would replace a file of somebody else, or a file cannot be written.
        ConfigurationError: safetensors is not installed.
    """
    require("safetensors")
    from safetensors.torch import save

    check_replaceable(beside)
    content = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, metadata={"format": "pt"})
    with report_write_errors(weights):
        with atomic_write(weights) as temporary:
            temporary.write_bytes(content)
        write_text(beside, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def load_safetensors(
    path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), protocol: Protocol | str | None = None
) -> Predictor:
    """Load an exported network for prediction, as `load_model` does a run.

    Args:
        path: `FILE.safetensors` with its settings beside it, or a folder for a model hub.
        device: Where it shall run.
        trust: Packages besides this library whose classes the settings may name; loading calls them.
        protocol: How it is applied to a picture, or the name of a protocol of conf/protocol; None for the one of its run.

    Raises:
        ConfigurationError: There are no such files, they are damaged, name classes that are not trusted, or do not fit each other.

    Example:
        `load_safetensors("exported/model.safetensors").predict(rgb)`
    """
    from pin_memory.inference.protocols import find_protocol

    weights = find_weights(Path(path).expanduser())
    if weights is None:
        raise ConfigurationError(f"{path}: expected a {SUFFIX} file, or a folder with {WEIGHTS}.")
    settings = _settings_file(weights)
    try:
        content = read_json(settings)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{settings}: expected the settings of {weights} ({error}).") from error
    described = read_about(content, settings)
    plain = checked_settings({"network": described.network}, ["network"], settings, trust)["network"]
    without_downloads(plain)
    network = rebuilt(lambda: hydra.utils.instantiate(plain), settings)
    if not isinstance(network, MemorySegmenter):
        raise ConfigurationError(f"{settings}: expected a MemorySegmenter, found {type(network).__name__}.")
    _fill(network, _read(weights), weights)
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return Predictor(network, device, described.label_space, described.statistics, chosen or described.protocol)


def _settings_file(weights: Path) -> Path:
    """Where the settings of a file of weights lie: beside it under its name, or in the hub folder that it is in."""
    beside, hub = weights.with_suffix(".json"), weights.with_name(SETTINGS)
    return hub if weights.name == WEIGHTS and not beside.is_file() else beside


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ConfigurationError: It is damaged, or safetensors is not installed.
    """
    require("safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path} is not a readable safetensors file ({error}). Is it complete?") from error


def _fill(network: MemorySegmenter, state: dict[str, Tensor], path: Path) -> None:
    """Give the network its tensors; all must fit.

    Raises:
        ConfigurationError: They do not; names the first.
    """
    own = network.state_dict()
    wrong = [name for name in own.keys() | state.keys() if name not in own or name not in state or own[name].shape != state[name].shape]
    if wrong:
        raise ConfigurationError(f"{path} does not fit its settings: {len(wrong)} tensors are missing or others, such as {min(wrong)}.")
    network.load_state_dict(state)
