"""A trained network for pictures: RGB in, train ids out."""

import numpy as np
import torch
from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, TestStatistics
from pin_memory.inference.protocol import WHOLE, Protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import EvalTransform
from pin_memory.utils.labels import CITYSCAPES, LabelSpace


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
