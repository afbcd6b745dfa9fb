"""A trained network for pictures: RGB in, train ids out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pin_memory.utils.labels import CITYSCAPES, LabelSpace
from pin_memory.domains.loading.transforms import EvalTransform
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.inference.batch_norm import RUNNING, TestStatistics
from pin_memory.networks import MemorySegmenter


class Predictor:
    """Segments RGB pictures of any size with a trained network.

    Args:
        network: The trained network.
        device: Where it runs.
        label_space: What the train ids stand for.
        statistics: What batch norm normalises by.
        protocol: How the network is applied to a picture; its evaluation views belong to data sets, pictures are taken as they are.
    """

    def __init__(
        self,
        network: MemorySegmenter,
        device: str | torch.device = "cpu",
        label_space: LabelSpace = CITYSCAPES,
        statistics: TestStatistics = RUNNING,
        protocol: Protocol = WHOLE,
    ) -> None:
        self.label_space, self.statistics, self.protocol = label_space, statistics, protocol
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self._transform = EvalTransform()

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Segment one picture.

        Args:
            rgb: `(H, W, 3)` uint8, red first.

        Returns:
            Train ids `(H, W)` uint8 in 0..K-1.

        Raises:
            ValueError: Another shape or type.
        """
        ids = self.protocol.predict(self.network, self._images(rgb), statistics=self.statistics)
        return ids[0].to(torch.uint8).cpu().numpy()

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Class probabilities of one picture.

        Args:
            rgb: `(H, W, 3)` uint8, red first.

        Returns:
            `(K, H, W)` float32, sum 1 over the classes.

        Raises:
            ValueError: Another shape or type.
        """
        scores = self.protocol.probabilities(self.network, self._images(rgb), statistics=self.statistics)
        return scores[0].float().cpu().numpy()

    def _images(self, rgb: np.ndarray) -> Tensor:
        """The picture as the network takes it, `(1, 3, H, W)`."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"expected an RGB picture (H, W, 3) uint8, found {rgb.shape} {rgb.dtype}")
        image, _ = self._transform(rgb, np.zeros(rgb.shape[:2], np.uint8), None)
        return image.unsqueeze(0).to(self.device)


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
    from pin_memory.runs.checkpoints import find_checkpoint, load_method  # assembly builds on inference
    from pin_memory.exporting.weights import find_weights, load_safetensors
    from pin_memory.inference.protocols import find_protocol

    if find_weights(Path(run_or_checkpoint).expanduser()):
        return load_safetensors(run_or_checkpoint, device, trust, protocol)
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    method, checkpoint = load_method(find_checkpoint(run_or_checkpoint), trust)
    return Predictor(method.network, device, checkpoint.label_space, method.test_statistics, chosen or method.protocol)
