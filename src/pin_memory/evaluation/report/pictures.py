"""The pictures of a report, inside the page as data: image, truth, prediction and error of each panel."""

import base64
import logging
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pin_memory.callbacks.panels import TILES
from pin_memory.domains.readers.decoding import PILLOW_ERRORS, opened
from pin_memory.runs.reading import RunFolder
from pin_memory.utils.errors import DataError
from pin_memory.utils.pictures import difference

log = logging.getLogger(__name__)

LAYERS = {"image": "image", "truth": "ground truth", "prediction": "prediction", "error": "error"}
"""Layers of a panel and what they are called."""


class Quality(NamedTuple):
    """How much room the pictures of a report may take: widest side in pixels, JPEG quality, panels of each target."""

    width: int
    jpeg: int
    panels: int


QUALITIES = (Quality(960, 85, 99), Quality(800, 75, 16), Quality(640, 65, 8), Quality(480, 55, 4), Quality(320, 45, 2), Quality(0, 0, 0))
"""Tried in turn until the report is small enough."""


def panels(run: RunFolder, quality: Quality) -> dict[str, list[dict[str, Any]]]:
    """The panels by target, with each layer as a data URI; a panel whose files cannot be read is left out.

    Args:
        run: The run folder.
        quality: Size of the pictures and how many.
    """
    shown: dict[str, list[dict[str, Any]]] = {}
    for entry in run.panels:
        target = str(entry.get("target"))
        if len(shown.get(target, [])) >= quality.panels:
            continue
        try:
            panel = _panel(run, entry, quality)
        except (DataError, *PILLOW_ERRORS) as error:
            log.warning("The report leaves out the panel %s of %s: %s", entry.get("name"), target, error)
            continue
        shown.setdefault(target, []).append(panel)
    return shown


def _panel(run: RunFolder, entry: dict[str, Any], quality: Quality) -> dict[str, Any]:
    """One panel: its layers, its size, its classes."""
    folder = run.path / TILES
    with opened(_inside(folder, entry["image"])) as picture:
        stored = picture.convert("RGB")
    scale = min(1.0, quality.width / stored.width)
    size = (max(1, round(stored.width * scale)), max(1, round(stored.height * scale)))
    rgb = stored.resize(size, Image.Resampling.LANCZOS)
    files = (_inside(folder, entry[name]) for name in ("truth", "prediction"))
    truth, prediction = (_resized(file, size) for file in files)
    ids = [np.asarray(mask) for mask in (truth, prediction)]
    error = Image.fromarray(difference(np.asarray(rgb), *ids))
    return {
        "name": str(entry["name"]), "wrong": entry.get("wrong"), "width": size[0], "height": size[1],
        "layers": {"image": _jpeg(rgb, quality.jpeg), "truth": _png(truth), "prediction": _png(prediction),
                   "error": _jpeg(error, quality.jpeg)},
    }  # fmt: skip


def _resized(file: Path, size: tuple[int, int]) -> Image.Image:
    """A mask at another size."""
    with opened(file) as picture:
        return picture.resize(size, Image.Resampling.NEAREST)


def _inside(folder: Path, name: str) -> Path:
    """A file directly in the folder: the index is data, which must not fetch other files into the page.

    Raises:
        ValueError: The name leads elsewhere.
    """
    if Path(name).name != name:
        raise ValueError(f"{name} is not in {folder}")
    return folder / name


def _jpeg(picture: Image.Image, quality: int) -> str:
    picture.save(buffer := BytesIO(), "JPEG", quality=quality, optimize=True)
    return _uri("image/jpeg", buffer)


def _png(picture: Image.Image) -> str:
    """A mask with its palette: few colours in large areas."""
    picture.save(buffer := BytesIO(), "PNG", optimize=True)
    return _uri("image/png", buffer)


def _uri(kind: str, buffer: BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
