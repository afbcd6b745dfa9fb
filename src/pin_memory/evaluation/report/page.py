"""From a template and its values to one page: pictures inline as data, everything from files escaped, nothing fetched."""

import base64
import hashlib
import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from pin_memory.runs.folder import RunFolder, Tile
from pin_memory.utils.decoding import PILLOW_ERRORS, opened
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import report_write_errors, write_text
from pin_memory.utils.pictures import difference
from pin_memory.utils.tables import percent

log = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "templates"
LAYERS = {"image": "image", "truth": "ground truth", "prediction": "prediction", "error": "error"}
"""Layers of a panel and what they are called."""
_WIDTH = 640  # pixels: with 4 panels of each of 12 targets a page of about 7 MB
_JPEG_QUALITY = 75


def write_page(path: Path, template: str, /, **values: Any) -> None:
    """Fill the values into a template, all escaped, and write it; the page forbids itself to load anything or to run another script."""
    script = (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else percent(value)
    environment.filters["signed"] = lambda value: "–" if value is None else percent(value, signed=True)
    environment.filters["width"] = lambda value: f"{100 * min(max(value or 0.0, 0.0), 1.0):.2f}%"
    html = environment.get_template(template).render(script=script, style=style, policy=policy, **values)
    with report_write_errors(path, "the report ", other="file"):
        write_text(path, html)


def panels(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The panels by target, with each layer as a data URI; a panel whose files cannot be read is left out."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for tile in run.tiles.panels:
        try:
            panel = _panel(run.path / "tiles", tile)
        except (DataError, *PILLOW_ERRORS) as error:
            log.warning("The report leaves out the panel %s of %s: %s", tile.name, tile.target, error)
            continue
        shown.setdefault(tile.target, []).append(panel)
    return shown


def _panel(folder: Path, tile: Tile) -> dict[str, Any]:
    """One panel: its layers, its size, its classes."""
    stored = _read(folder, tile.image).convert("RGB")
    scale = min(1.0, _WIDTH / stored.width)
    size = (max(1, round(stored.width * scale)), max(1, round(stored.height * scale)))
    rgb = stored.resize(size, Image.Resampling.LANCZOS)
    truth, prediction = (_read(folder, name).resize(size, Image.Resampling.NEAREST) for name in (tile.truth, tile.prediction))
    error = Image.fromarray(difference(np.asarray(rgb), np.asarray(truth), np.asarray(prediction)))
    layers = {name: _uri(picture, "JPEG", quality=_JPEG_QUALITY) for name, picture in (("image", rgb), ("error", error))}
    layers |= {name: _uri(picture, "PNG") for name, picture in (("truth", truth), ("prediction", prediction))}
    return {"name": tile.name, "wrong": tile.wrong, "width": size[0], "height": size[1], "layers": layers}


def _read(folder: Path, name: str) -> Image.Image:
    """A picture directly in the folder: the index is data, which must not fetch other files into the page."""
    if Path(name).name != name:
        raise ValueError(f"{name} is not in {folder}")
    with opened(folder / name) as picture:
        picture.load()
        return picture


def _uri(picture: Image.Image, form: str, **options: Any) -> str:
    """A picture as data; PNG for masks, which keep their palette: few colours in large areas."""
    picture.save(buffer := BytesIO(), form, optimize=True, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
