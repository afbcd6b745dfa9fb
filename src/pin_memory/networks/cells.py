"""Where the cells of a feature map lie on the image: what takes maps to pixels, and labels to cells."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from pin_memory.utils.labels import IGNORE

Size = tuple[int, int]
"""Rows and columns."""


class Cells(NamedTuple):
    """How the cells of a backbone lie on its images.

    The centres of the corner cells of a convolutional network lie on the corner pixels (`patch=None`, aligned corners, as released). A
    cell of a vision transformer is a patch of pixels: its centre is that of the patch, and an image whose sides are no multiples of the
    patch is padded to the right and below.

    Attributes:
        patch: Side of a patch in pixels; None for corner cells on corner pixels.
    """

    patch: int | None = None

    def padded(self, size: Size) -> Size:
        """The size of an image after padding."""
        if self.patch is None:
            return size
        extra = self.patch - 1  # added, as ONNX divides negative numbers otherwise
        return (size[0] + extra) // self.patch * self.patch, (size[1] + extra) // self.patch * self.patch

    def to_pixels(self, maps: Tensor, image: Size, size: Size | None = None) -> Tensor:
        """Resize maps of cells, or of parts of cells, bilinearly to pixels; what lies on padding is cut off.

        Args:
            maps: `(B, C, h, w)`.
            image: The size of the image that they were computed from.
            size: Of the result, which shows the whole image; by default the image's.

        Returns:
            `(B, C, *size)`.
        """
        if self.patch is None:
            return F.interpolate(maps, size=size or image, mode="bilinear", align_corners=True)
        rows, columns = self.padded(image)
        found = F.interpolate(maps, size=(rows, columns), mode="bilinear", align_corners=False)
        found = F.pad(found, (0, image[1] - columns, 0, image[0] - rows))  # cut: a slice would bind an exported graph to padded sizes
        return found if size is None or size == image else F.interpolate(found, size=size, mode="bilinear", align_corners=False)

    def cover(self, labels: Tensor, image: Size | None = None) -> Tensor:
        """Labels `(B, H, W)` with ignored pixels where the image was padded, so that cells share them out evenly.

        `image` is the size of the image, by default that of the labels; they are padded by whole pixels of their own.
        """
        if self.patch is None:
            return labels
        own = (labels.shape[-2], labels.shape[-1])
        image = image or own
        rows, columns = (side * full // shown for side, full, shown in zip(own, self.padded(image), image, strict=True))
        return F.pad(labels, (0, columns - own[1], 0, rows - own[0]), value=IGNORE)

    def nearest(self, labels: Tensor, size: Size) -> Tensor:
        """The label `(B, h, w)` of each cell, of labels that cover them: at the upper left corner as released, at the centre of a patch."""
        mode = "nearest" if self.patch is None else "nearest-exact"
        return F.interpolate(labels.unsqueeze(1).float(), size=size, mode=mode).squeeze(1).long()


CORNERS = Cells()
"""The cells of convolutional networks."""
