"""Loading a trained network for prediction, from whatever holds one."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pin_memory.exporting.weights import find_weights, load_safetensors
from pin_memory.inference import Predictor, Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.runs.checkpoints import find_checkpoint, load_method
from pin_memory.runs.support import needs_support, take_support
from pin_memory.utils.errors import ConfigurationError


def find_model(run_or_file: str | Path) -> Path:
    """The file that holds the network: `.safetensors`, or the checkpoint of a run."""
    return find_weights(Path(run_or_file).expanduser()) or find_checkpoint(run_or_file)


def load_model(
    run_or_checkpoint: str | Path,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    protocol: Protocol | str | None = None,
    support: str | Path | None = None,
    pretrained: str | Path | None = None,
) -> Predictor:
    """Load the network of a run for prediction.

    Args:
        run_or_checkpoint: A run folder, a checkpoint file, or what `export` wrote as safetensors or for a model hub.
        device: Where it shall run.
        trust: Packages besides this library whose classes the checkpoint may name; loading calls them.
        protocol: How it is applied to an image, or the name of a protocol of conf/protocol; None for the run's own.
        support: Of a few-shot run: a folder with `images` and `labels` of the classes to be segmented.
        pretrained: Of a checkpoint without the weights of its frozen backbone: their file; None for that of this user's training.

    Returns:
        What segments images: `.predict(rgb)`, `.probabilities(rgb)`, `.segment(images)`.

    Raises:
        ConfigurationError: There is no checkpoint of this library, it is damaged or names classes that are not trusted, or there is no
            protocol of that name, a support is missing or of no use, or a file of frozen weights is missing or another one.
        DataError: The support cannot be read.

    Example:
        `load_model("runs/demo/2026-01-31_12-00-00").predict(rgb)`
    """
    path = find_model(run_or_checkpoint)
    if find_weights(path):
        if support is not None:
            raise ConfigurationError(f"support={support}: {path} has no method. Give the checkpoint of a few-shot run.")
        if pretrained is not None:
            raise ConfigurationError(f"pretrained={pretrained}: {path} holds all weights of its network. Leave it out.")
        return load_safetensors(path, device, trust, protocol)
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    method, checkpoint = load_method(path, trust, pretrained)
    space = take_support(method, support, device) if needs_support(method, support) and support is not None else checkpoint.label_space
    return Predictor(method.network, device, space, method.test_statistics, chosen or method.protocol)
