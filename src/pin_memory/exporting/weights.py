"""Weights as safetensors, which hold no code, next to the settings that rebuild the network, as JSON."""

from collections.abc import Sequence
from pathlib import Path

import hydra.utils
import torch
from omegaconf import OmegaConf

from pin_memory.exporting.graph import require
from pin_memory.exporting.settings import FORMAT, ExportSettings, holds_export_settings
from pin_memory.inference import Predictor, Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.runs.build import rebuilt, without_downloads
from pin_memory.runs.trusted import trusted_settings
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
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    weights = find_weights(Path(path).expanduser())
    if weights is None:
        raise ConfigurationError(f"{path}: expected a {SUFFIX} file, or a folder with {WEIGHTS}.")
    settings_file = weights.with_suffix(".json")
    if weights.name == WEIGHTS and not settings_file.is_file():  # in a hub folder
        settings_file = weights.with_name(SETTINGS)
    settings = ExportSettings.read(settings_file)
    checked = trusted_settings({"network": settings.network}, settings_file, trust)
    without_downloads(checked)
    network = rebuilt(lambda: hydra.utils.instantiate(OmegaConf.create(checked).network), settings_file)
    if not isinstance(network, MemorySegmenter):
        raise ConfigurationError(f"{settings_file}: expected a MemorySegmenter, found {type(network).__name__}.")
    try:
        load_model(network, weights, strict=True)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{weights} is not a readable safetensors file ({error}). Is it complete?") from error
    except RuntimeError as error:
        raise ConfigurationError(f"{weights} does not fit its settings: {' '.join(str(error).split())}") from error
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return Predictor(network, device, settings.classes, settings.statistics, chosen or settings.protocol)
