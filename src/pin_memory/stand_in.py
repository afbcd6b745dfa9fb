"""Draw stand-ins for the data sets: `python -m pin_memory.stand_in root=DIR images_per_domain=40`.

They are procedural street scenes with all 19 classes in six looks, each in the folder layout and label encoding of one data set, so
that every command runs without a download. A score on them says nothing about a score on the real data.
"""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from pin_memory.cli.command import command
from pin_memory.utils.errors import ConfigurationError

ROW_HEIGHT, SHEET_WIDTH, TITLE_HEIGHT = 150, 1340, 20
SHEET_SUFFIXES = (".jpg", ".jpeg", ".png")


@command("stand_in")
def main(cfg: DictConfig) -> None:
    """Draw the stand-ins below `cfg.root` unless they are there, and the contact sheet if one is asked for."""
    _check(cfg)
    from pin_memory.domains.stand_ins.writers import StandIns

    root = Path(str(cfg.root)).expanduser()
    drawn = StandIns(root, cfg.images_per_domain, cfg.seed, cfg.width).prepare()
    print(f"Drew six stand-ins in {root}" if drawn else f"The stand-ins in {root} are already these; nothing was drawn")
    if cfg.contact_sheet is not None:
        from pin_memory.utils.pictures import write_image

        path = Path(str(cfg.contact_sheet)).expanduser()
        write_image(path, contact_sheet(cfg.seed, cfg.width))
        print(f"Wrote the contact sheet to {path}")


def contact_sheet(seed: int, width: int = 480) -> np.ndarray:
    """Show the looks one below the other: title, one image with its label map, and further images as far as they fit.

    Args:
        seed: Seed of the set; the first images of it are shown.
        width: Width in pixels at which the scenes are drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    import cv2

    from pin_memory.domains.stand_ins.scenes import LOOKS

    rows = []
    for key, look in LOOKS.items():
        title = np.full((TITLE_HEIGHT, SHEET_WIDTH, 3), 255, np.uint8)
        cv2.putText(title, look.title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (20, 20, 20), 1, cv2.LINE_AA)
        rows += [title, _row(key, seed, width)]
    return np.concatenate(rows)


def _check(cfg: DictConfig) -> None:
    """Refuse settings of the wrong kind before minutes are spent on drawing.

    Raises:
        ConfigurationError: A number is no whole number, or the contact sheet's suffix is no picture's.
    """
    for name in ("images_per_domain", "seed", "width"):
        if not isinstance(cfg[name], int) or isinstance(cfg[name], bool):
            raise ConfigurationError(f"{name}={cfg[name]}: expected a whole number.")
    if cfg.contact_sheet is not None and Path(str(cfg.contact_sheet)).suffix.lower() not in SHEET_SUFFIXES:
        raise ConfigurationError(
            f"contact_sheet={cfg.contact_sheet}: expected a file name that ends with one of {', '.join(SHEET_SUFFIXES)}."
        )


def _row(look: str, seed: int, width: int) -> np.ndarray:
    """A strip of one look's images, the second tile being the label map of the first."""
    import cv2

    from pin_memory.domains.stand_ins.scenes import draw_scene
    from pin_memory.utils.pictures import colorize

    strip, x, index = np.full((ROW_HEIGHT, SHEET_WIDTH, 3), 255, np.uint8), 0, 0
    while x < SHEET_WIDTH:
        scene = draw_scene(look, seed, index, width)
        size = round(scene.image.shape[1] * ROW_HEIGHT / scene.image.shape[0]), ROW_HEIGHT
        tiles = [cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA)]
        if index == 0:
            tiles.append(cv2.resize(colorize(scene.label), size, interpolation=cv2.INTER_NEAREST))
        for tile in tiles:
            strip[:, x : x + size[0]] = tile[:, : SHEET_WIDTH - x]
            x += size[0] + 3
            if x >= SHEET_WIDTH:
                break
        index += 1
    return strip


if __name__ == "__main__":
    main()
