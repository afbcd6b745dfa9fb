"""Segment images with a trained network: `python -m pin_memory.predict checkpoint=RUN_OR_FILE input=IMAGE_OR_FOLDER output=DIR`.

For every image three files are written: `<image>_trainids.png` (8 bit, 0..18), `<image>_color.png` (the Cityscapes colours) and
`<image>_overlay.jpg` (the colours over the image, with a legend). `<image>` is the file name without its suffix or, where two
images of the folder differ in nothing else, with it.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from omegaconf import DictConfig
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.commands import command
from pin_memory.errors import ConfigurationError, DataError, OutputError

if TYPE_CHECKING:
    from pin_memory.domains.classes import LabelSpace

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""File names that count as images, in lower or upper case."""


class Model(Protocol):
    """What segments an image."""

    @property
    def label_space(self) -> "LabelSpace":
        """What the train ids stand for."""

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Return train ids (H, W) uint8 for an image (H, W, 3) uint8."""


@command("predict")
def main(cfg: DictConfig) -> None:
    """Segment the images of `cfg.input`."""
    # What can be wrong with the paths is told before the network is loaded, which takes seconds.
    source = Path(str(cfg.input)).expanduser()
    inputs = find_images(source)
    output = prepare_output(Path(str(cfg.output)).expanduser(), source)
    check_alpha(cfg.alpha)

    from pin_memory.inference import load_model

    model = load_model(Path(str(cfg.checkpoint)).expanduser(), device=choose_device(cfg.device), trust=list(cfg.trust))
    predict_folder(model, inputs, output, alpha=cfg.alpha)
    print(f"Wrote the label maps, colour masks and overlays of {len(inputs)} image{'s' if len(inputs) > 1 else ''} to {output}")


def find_images(path: str | Path) -> list[Path]:
    """List the images to segment.

    Args:
        path: An image, or a folder whose images are listed by name, without its subfolders and hidden files.

    Raises:
        DataError: If there is nothing at `path` or no image in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"input={path}: no such file or folder (looked for {path.absolute()}). Give an image or a folder of images.")
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        folders = sum(entry.is_dir() for entry in path.iterdir())
        found = f"{len(files)} other files and {folders} subfolders, which are not searched"
        raise DataError(f"input={path}: no image in this folder; found {found}. Images are files that end in {', '.join(SUFFIXES)}.")
    return images


def prepare_output(output: str | Path, source: Path) -> Path:
    """Make the output folder and try whether it can be written to.

    Args:
        output: The folder to write to.
        source: The image or folder of images that is read.

    Raises:
        ConfigurationError: If the images would be written among those that are read: the next run would segment them too.
        OutputError: If the folder cannot be made or written to.
    """
    output = Path(output)
    folder = source if source.is_dir() else source.parent
    if output.resolve() == folder.resolve():
        raise ConfigurationError(
            f"output={output} is the folder of the images themselves; the next run would take the masks for images. "
            f"Choose another one, for example output={folder / 'predictions'}"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(f"output={output}: cannot write to this folder: {error.strerror or error}. Choose another one.") from error
    return output


def check_alpha(alpha: float) -> None:
    """Check the opacity of the overlay.

    Raises:
        ConfigurationError: If it is no number from 0 to 1.
    """
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ConfigurationError(f"alpha={alpha}: the opacity of the colours must be a number from 0 (image only) to 1 (colours only).")


def choose_device(device: str) -> str:
    """Turn `auto` into a device.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:<number>`.

    Raises:
        ConfigurationError: If there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ConfigurationError(f"device={device}: choose auto, cpu or cuda.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f"device={device}: PyTorch finds {torch.cuda.device_count()} GPUs here. Choose device=auto or device=cpu.")
    return device


def predict_folder(model: Model, inputs: Sequence[Path], output: str | Path, alpha: float = 0.5) -> list[Path]:
    """Segment images one by one; one that cannot be read does not keep the others from being segmented.

    Args:
        model: What segments an image.
        inputs: The image files.
        output: The folder to write to.
        alpha: Opacity of the colours on the overlay, 0..1.

    Returns:
        The files written.

    Raises:
        DataError: After all images, if some could not be read; it names each of them.
        OutputError: At once, if a result cannot be written.
    """
    written: list[Path] = []
    broken: list[str] = []
    for path, name in tqdm(list(zip(inputs, _output_names(inputs), strict=True)), desc="segmenting", unit="image", disable=None):
        try:
            rgb = read_rgb(path)
        except DataError as error:
            broken.append(str(error))
            continue
        written += _write_prediction(Path(output), name, rgb, model.predict(rgb), alpha, model.label_space)
    if broken:
        raise DataError(
            f"{len(broken)} of {len(inputs)} images could not be read, the others are in {output}:\n"
            + "\n".join(f"  {line}" for line in broken)
        )
    return written


def read_rgb(path: str | Path) -> np.ndarray:
    """Read a picture of any kind as the user sees it.

    A photo is turned upright as its EXIF data say, so the mask has the size and direction of the shown picture, not of the stored
    one. Grey and palette pictures get three channels, 16 bit grey is divided by 257, transparency is dropped.

    Args:
        path: The picture.

    Returns:
        Image (H, W, 3) uint8.

    Raises:
        DataError: If the file is no readable picture.
    """
    try:
        with Image.open(path) as stored:
            picture = ImageOps.exif_transpose(stored)
            if picture.mode == "F" or picture.mode.startswith("I"):
                picture = Image.fromarray(_to_8_bit(np.asarray(picture)))
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image, or of a format that is not known") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from error


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 bits, or floats of 0..1 or 0..255, as 8 bits."""
    if np.issubdtype(values.dtype, np.integer):
        values = values / 257
    elif values.max(initial=0) <= 1:
        values = values * 255
    return values.clip(0, 255).round().astype(np.uint8)


def _output_names(inputs: Sequence[Path]) -> list[str]:
    """A name for each image: without its suffix if that tells all of them apart, else with it (`a.png`, `a.jpg`)."""
    stems = Counter(path.stem for path in inputs)
    return [path.stem if max(stems.values()) == 1 else path.name for path in inputs]


def _write_prediction(output: Path, name: str, rgb: np.ndarray, mask: np.ndarray, alpha: float, space: "LabelSpace") -> list[Path]:
    """Write the three pictures of one image."""
    from pin_memory.visualize import colorize, overlay, with_legend, write_image

    pictures = {
        output / f"{name}_trainids.png": mask.astype(np.uint8),
        output / f"{name}_color.png": colorize(mask, space),
        output / f"{name}_overlay.jpg": with_legend(overlay(rgb, mask, alpha, space), mask, space),
    }
    for path, picture in pictures.items():
        write_image(path, picture)
    return list(pictures)


if __name__ == "__main__":
    main()
