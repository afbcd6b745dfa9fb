"""Contact sheets: some pairs of a data set as the reader decodes them, the labels laid over the images."""

from pathlib import Path

import numpy as np
from PIL import Image

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import Sample
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils import pictures
from pin_memory.utils.errors import DataError
from pin_memory.utils.labels import IGNORE, LabelSpace

_PAIRS, _COLUMNS = 8, 2  # pairs on a sheet, and next to each other
_TILE = (460, 300)  # largest width and height of a picture


def write_sheet(path: Path, name: str, splits: list[Domain]) -> None:
    """Write the sheet of a data set, `name` in the configuration; each of its opened splits gets its share of the pairs, evenly spaced."""
    tiles: list[np.ndarray] = []
    present: set[int] = set()
    for place, domain in enumerate(splits):
        for sample in evenly_spaced(domain.samples, _PAIRS // len(splits) + (place < _PAIRS % len(splits))):
            tile, classes = _pair(domain, sample)
            tiles.append(tile)
            present |= classes
    title = f"{name}: {splits[0].title}, {splits[0].layout.name}, labels: {splits[0].layout.encoding}"
    body = pictures.grid(tiles, _COLUMNS)
    extra = [("ignored", pictures.STRIPES[1])] if IGNORE in present else []
    strip = pictures.legend(present, body.shape[1], extra=extra, space=splits[0].label_space)
    pictures.write_image(path, pictures.framed(np.concatenate([pictures.text_line(title, body.shape[1], 20), body, strip])))


def _pair(domain: Domain, sample: Sample) -> tuple[np.ndarray, set[int]]:
    """Image and labelled image side by side with a caption, and the classes in it; a damaged pair is shown as grey tiles."""
    title = f"{domain.split}  {sample.name}"
    try:
        image, label = domain.read_pair(sample)
    except (DataError, Image.DecompressionBombError):
        blank = np.full((_TILE[1], _TILE[0], 3), 225, np.uint8)
        return pictures.caption(pictures.beside([blank, blank], gap=2), f"{title}  (cannot be shown)", 14), set()
    size = pictures.size_within(image, *_TILE, enlarge=True)
    small, mask = pictures.resize(image, size), pictures.resize(label, size)
    shown = pictures.beside([small, labelled(small, mask, domain.label_space)], gap=2)
    return pictures.caption(shown, f"{title}  {image.shape[1]}x{image.shape[0]}", 14), set(np.unique(label).tolist())


def labelled(image: np.ndarray, mask: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Lay train ids over a picture; what is ignored becomes dark and hatched."""
    return pictures.hatch(pictures.overlay(image, mask, 0.7, space), mask == IGNORE)
