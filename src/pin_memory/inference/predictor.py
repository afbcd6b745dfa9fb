"""A trained network for pictures: RGB in, train ids out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pin_memory.domains.classes import CITYSCAPES, LabelSpace
from pin_memory.domains.transforms import EvalTransform
from pin_memory.inference.statistics import RUNNING, TestStatistics
from pin_memory.inference.whole import predict_whole
from pin_memory.networks import MemorySegmenter


class Predictor:
    """Segments RGB pictures with a trained network, whole and at their own size.

    Args:
        network: The trained network.
        device: Where it runs.
        label_space: What the train ids stand for.
        statistics: What batch norm normalises by.
    """

    def __init__(
        self,
        network: MemorySegmenter,
        device: str | torch.device = "cpu",
        label_space: LabelSpace = CITYSCAPES,
        statistics: TestStatistics = RUNNING,
    ) -> None:
        self.label_space, self.statistics = label_space, statistics
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
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"expected an RGB picture (H, W, 3) uint8, found {rgb.shape} {rgb.dtype}")
        image, _ = self._transform(rgb, np.zeros(rgb.shape[:2], np.uint8), None)
        return predict_whole(self.network, image.unsqueeze(0).to(self.device), statistics=self.statistics)[0].to(torch.uint8).cpu().numpy()


def load_model(run_or_checkpoint: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> Predictor:
    """Load the network of a run for prediction.

    Args:
        run_or_checkpoint: A run folder or a checkpoint file.
        device: Where it shall run.
        trust: Packages besides this library whose classes the checkpoint may name; loading calls them.

    Raises:
        ConfigurationError: There is no checkpoint of this library.

    Example:
        `load_model("runs/demo/2026-01-31_12-00-00").predict(rgb)`
    """
    from pin_memory.assembly import find_checkpoint, load_method  # assembly builds on inference

    trained = load_method(find_checkpoint(run_or_checkpoint), trust)
    return Predictor(trained.method.network, device, trained.checkpoint.label_space, trained.method.test_statistics)
