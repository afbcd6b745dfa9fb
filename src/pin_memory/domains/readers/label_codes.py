"""Labels coded in the three bytes of a colour picture: class colours, or numbers of segments."""

from collections.abc import Mapping

import numpy as np

from pin_memory.utils.labels import IGNORE

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""


class CodeTable:
    """The raw label id (0..255) of each code R + 256 G + 65536 B; whatever is not listed becomes 255."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        codes = sorted(ids)
        self._codes = np.array(codes, np.uint32)
        self._ids = np.array([ids[code] for code in codes], np.uint8)

    @classmethod
    def of_colours(cls, ids: Mapping[Colour, int]) -> "CodeTable":
        """Build the table from the raw id of each colour."""
        return cls({red + 256 * green + 65536 * blue: raw for (red, green, blue), raw in ids.items()})

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes (H, W) uint32 into raw ids (H, W) uint8.

        Labels are made of patches, so each run of equal codes along the rows is looked up once: far fewer than there are pixels, and no
        loading process holds a table of the 16 million colours.
        """
        row = codes.ravel()
        starts = np.concatenate(([0], np.flatnonzero(row[1:] != row[:-1]) + 1))
        runs = row[starts]
        places = np.searchsorted(self._codes, runs).clip(max=len(self._codes) - 1)
        ids = np.where(self._codes[places] == runs, self._ids[places], np.uint8(IGNORE))
        return np.repeat(ids, np.diff(starts, append=row.size)).reshape(codes.shape)
