"""What `python -m pin_memory.stand_in` does: draw the stand-ins, and an overview of the six looks."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from pin_memory.domains.stand_ins.looks import LOOKS
from pin_memory.domains.stand_ins.scenes import draw_scene
from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.pictures import colorize, resize, side_by_side, text_line, write_image

SUFFIXES = (".jpg", ".jpeg", ".png")
_ROW_HEIGHT, _WIDTH, _GAP = 150, 1340, 3


def draw(cfg: DictConfig) -> None:
    """Draw the stand-ins below `cfg.root` unless they are there, and the contact sheet if one is asked for."""
    root = Path(str(cfg.root)).expanduser()
    stand_ins = StandIns(root, cfg.images_per_domain, cfg.seed, cfg.width)
    sheet = None if cfg.contact_sheet is None else Path(str(cfg.contact_sheet)).expanduser()
    if sheet is not None and sheet.suffix.lower() not in SUFFIXES:  # before minutes are spent on drawing
        raise ConfigurationError(f"contact_sheet={sheet}: expected a file name that ends with one of {', '.join(SUFFIXES)}.")
    drawn = stand_ins.prepare()
    print(f"Drew six stand-ins in {root}" if drawn else f"The stand-ins in {root} are already these; nothing was drawn")
    if sheet is not None:
        write_image(sheet, contact_sheet(cfg.seed, cfg.width))
        print(f"Wrote the contact sheet to {sheet}")


def contact_sheet(seed: int, width: int = 480) -> np.ndarray:
    """Show the looks one below the other: title, one image with its label map, and further images as far as they fit."""
    return np.concatenate([part for key, look in LOOKS.items() for part in (text_line(look.title, _WIDTH, 14), _row(key, seed, width))])


def _row(look: str, seed: int, width: int) -> np.ndarray:
    """A strip of a look's first images, scenes of `width` pixels; the second tile is the label map of the first."""
    tiles: list[np.ndarray] = []
    index = used = 0
    while used < _WIDTH:
        scene = draw_scene(look, seed, index, width)
        size = round(scene.image.shape[1] * _ROW_HEIGHT / scene.image.shape[0]), _ROW_HEIGHT
        tiles.append(resize(scene.image, size))
        if index == 0:
            tiles.append(colorize(resize(scene.label, size)))
        index, used = index + 1, sum(tile.shape[1] + _GAP for tile in tiles)
    return side_by_side(tiles, _GAP)[:, :_WIDTH]
