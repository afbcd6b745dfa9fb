"""Loading a trained network for prediction, from whatever holds one."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pin_memory.exporting.weights import find_weights, load_safetensors
from pin_memory.inference.predictor import Predictor
from pin_memory.inference.protocol import Protocol
from pin_memory.inference.protocols import find_protocol
from pin_memory.runs.checkpoints import find_checkpoint, load_method


def load_model(
    run_or_checkpoint: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), protocol: Protocol | str | None = None
) -> Predictor:
    """Load the network of a run for prediction.

    Args:
        run_or_checkpoint: A run folder, a checkpoint file, or what `export` wrote as safetensors or for a model hub.
        device: Where it shall run.
        trust: Packages besides this library whose classes the checkpoint may name; loading calls them.
        protocol: How it is applied to a picture, or the name of a protocol of conf/protocol; None for the run's own.

    Raises:
        ConfigurationError: There is no checkpoint of this library, or no protocol of that name.

    Example:
        `load_model("runs/demo/2026-01-31_12-00-00").predict(rgb)`
    """
    if find_weights(Path(run_or_checkpoint).expanduser()):
        return load_safetensors(run_or_checkpoint, device, trust, protocol)
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    method, checkpoint = load_method(find_checkpoint(run_or_checkpoint), trust)
    return Predictor(method.network, device, checkpoint.label_space, method.test_statistics, chosen or method.protocol)
