"""Labels coded in the three bytes of a colour picture: class colours, or numbers of segments."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from pin_memory.domains.readers.decoding import PILLOW_ERRORS, opened, read_rgb, undecodable
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""


class CodeTable:
    """The raw label id of each colour or segment number; whatever is not listed becomes 255."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        """Sort the codes.

        Args:
            ids: Raw id (0..255) of each code, R + 256 G + 65536 B; at least one.
        """
        codes = sorted(ids)
        self._codes = np.array(codes, np.uint32)
        self._ids = np.array([ids[code] for code in codes], np.uint8)

    @classmethod
    def of_colours(cls, ids: Mapping[Colour, int]) -> "CodeTable":
        """A table of colours."""
        return cls({red + 256 * green + 65536 * blue: raw for (red, green, blue), raw in ids.items()})

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes into raw ids.

        Labels are made of patches, so each run of equal codes along the rows is looked up once: far fewer than there are pixels, and no
        loading process holds a table of the 16 million colours.

        Args:
            codes: (H, W) uint32.

        Returns:
            (H, W) uint8.
        """
        flat = codes.ravel()
        starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
        runs = flat[starts]
        places = np.searchsorted(self._codes, runs).clip(max=len(self._codes) - 1)
        ids = np.where(self._codes[places] == runs, self._ids[places], np.uint8(IGNORE))
        return np.repeat(ids, np.diff(starts, append=flat.size)).reshape(codes.shape)


def read_codes(path: Path) -> np.ndarray:
    """Decode a colour picture to one number per pixel.

    Args:
        path: An RGB, RGBA or palette picture of 8 bits without losses; the opacity does not count.

    Returns:
        (H, W) uint32, R + 256 G + 65536 B.

    Raises:
        DataError: The file cannot be read or is truncated, or is no colour picture.
    """
    try:
        with opened(path) as image:
            mode = image.mode
    except PILLOW_ERRORS as error:
        raise undecodable(path, str(error)) from error
    if mode not in ("RGB", "RGBA", "P"):
        raise DataError(
            f"{path}: expected a label map of colours (8-bit RGB or palette picture), found picture mode {mode}. "
            "Maps of ids need the encoding for ids."
        )
    # Four bytes per pixel are one little-endian number; the fourth is always 255.
    return np.asarray(cv2.cvtColor(read_rgb(path), cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF)
