"""Image, ground truth and prediction as three small files: what a report needs to lay them over one another."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pin_memory.utils.errors import OutputError
from pin_memory.utils.files import atomic_write
from pin_memory.utils.labels import IGNORE, LabelSpace
from pin_memory.utils.pictures import write_image

_MAX_WIDTH, _MAX_HEIGHT = 960, 720


def write_tiles(
    folder: Path, stem: str, rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray, space: LabelSpace
) -> dict[str, object]:
    """Write `<stem>_image.jpg`, `<stem>_truth.png` and `<stem>_prediction.png` (train ids with a palette), shrunk where they are large.

    Args:
        folder: Where to.
        stem: Beginning of the file names.
        rgb: Image (H', W', 3) uint8.
        truth: Train ids (H, W).
        prediction: Train ids (H, W).
        space: Colours of the classes.

    Returns:
        File names by tile, and `wrong`: the share of judged pixels that were, at full size; None where none is judged.

    Raises:
        OutputError: A file cannot be written.
    """
    height, width = truth.shape
    scale = min(1.0, _MAX_WIDTH / width, _MAX_HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    files = {"image": f"{stem}_image.jpg", "truth": f"{stem}_truth.png", "prediction": f"{stem}_prediction.png"}
    write_image(folder / files["image"], np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)))
    for name, mask in (("truth", truth), ("prediction", prediction)):
        _write_mask(folder / files[name], mask, size, space)
    judged = truth != IGNORE
    return {**files, "wrong": float(np.mean(truth[judged] != prediction[judged])) if judged.any() else None}


def _write_mask(path: Path, mask: np.ndarray, size: tuple[int, int], space: LabelSpace) -> None:
    """Write train ids as a PNG whose palette holds the colours; ids without a class are black."""
    picture = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    table = np.zeros((256, 3), np.uint8)
    table[: len(space)] = space.palette
    picture.putpalette(table.tobytes())
    picture.save(buffer := BytesIO(), "PNG", optimize=True)
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        raise OutputError(f"Cannot write the picture {path}: {error.strerror or error}. Free some space.") from error
