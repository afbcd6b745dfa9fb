"""Scores that need no network: what predicting the most frequent classes would reach."""

import numpy as np
from torch import Tensor

from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import CLASSES, IGNORE


class LabelPrior:
    """How often each class occurs at each place of the picture, counted over labels of any size.

    Args:
        num_classes: Number of classes K.
        cells: The picture is divided into `cells` by `cells` equal rectangles.
        ignore_index: Label of the pixels that are not counted.

    Attributes:
        counts: Pixels of each class in each cell, (K, cells, cells) int64.

    Example:
        >>> prior = LabelPrior(num_classes=3, cells=2)
        >>> prior.update(np.array([[2, 2], [1, 255]]))
        >>> prior.constant()
        2
        >>> prior.layout(2, 4).tolist()
        [[2, 2, 2, 2], [1, 1, 2, 2]]
    """

    def __init__(self, num_classes: int = len(CLASSES), cells: int = 64, ignore_index: int = IGNORE) -> None:
        self.num_classes = num_classes
        self.cells = cells
        self.ignore_index = ignore_index
        self.counts = np.zeros((num_classes, cells, cells), np.int64)

    def update(self, label: Tensor | np.ndarray) -> None:
        """Count the pixels of one label map.

        Args:
            label: Train ids 0..K-1 or `ignore_index`, (H, W).
        """
        label = label.cpu().numpy() if isinstance(label, Tensor) else np.asarray(label)
        height, width = label.shape
        # A label that is smaller than the grid is enlarged first: otherwise some cells would never be counted.
        label = _nearest(label, max(height, self.cells), max(width, self.cells))
        rows = _positions(label.shape[0], self.cells)
        columns = _positions(label.shape[1], self.cells)
        bins = (label.astype(np.int64) * self.cells + rows[:, None]) * self.cells + columns
        self.counts += np.bincount(bins[label != self.ignore_index], minlength=self.counts.size).reshape(self.counts.shape)

    def constant(self) -> int:
        """Train id of the class with the most pixels.

        Raises:
            DataError: If no pixel was counted.
        """
        if not self.counts.any():
            raise DataError("No labelled pixel was found in the source labels: each of them is marked as ignored. Check the label files.")
        return int(self.counts.sum((1, 2)).argmax())

    def layout(self, height: int, width: int) -> np.ndarray:
        """Map of the most frequent class at each position, enlarged to the size of a picture.

        Positions where nothing was counted take the class that is most frequent overall.

        Args:
            height: Rows of the map.
            width: Columns of the map.

        Returns:
            Train ids (height, width) uint8.

        Raises:
            DataError: If no pixel was counted.
        """
        grid = np.where(self.counts.any(0), self.counts.argmax(0), self.constant()).astype(np.uint8)
        return _nearest(grid, height, width)


def _positions(length: int, cells: int) -> np.ndarray:
    """Which of `cells` equal parts each of `length` positions falls into, (length,) int64."""
    return np.arange(length) * cells // length


def _nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a map (H, W) to (height, width) by taking the nearest value."""
    return values[_positions(height, values.shape[0])[:, None], _positions(width, values.shape[1])]
