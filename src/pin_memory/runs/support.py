"""The support of a few-shot network from files: with it, the network segments images as any other does."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pin_memory.methods import MetaSegNet, Method
from pin_memory.utils.decoding import decode, read_rgb
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.images import normalize, to_tensors
from pin_memory.utils.labels import BACKGROUND, IGNORE, LabelSpace, bit_palette

LAYOUT = (
    "Expected images/NAME.jpg (or .png ...) and labels/NAME.png for each labelled image, all of one size; label values are 0 for the"
    " background, 1, 2, ... for the classes, 255 for what is not labelled."
)


def needs_support(method: Method, support: str | Path | None) -> bool:
    """Whether a method segments by a support; refuses one that is missing, or given to a method that has no use for it."""
    few_shot = isinstance(method, MetaSegNet)
    if few_shot and support is None:
        raise ConfigurationError(f"This is a few-shot network: give it labelled images of the classes with support=DIR. {LAYOUT}")
    if not few_shot and support is not None:
        raise ConfigurationError(f"support={support}: method={method.name} has learned its classes. Leave support out.")
    return few_shot


def take_support(method: Method, folder: str | Path, device: str | torch.device = "cpu") -> LabelSpace:
    """Fit the head of a few-shot network to labelled images and store it.

    Args:
        method: In eval mode.
        folder: Holds `images` and `labels` (`LAYOUT`).
        device: Where the network shall run.

    Returns:
        The classes: `background`, `class 1`, `class 2`, ...

    Raises:
        DataError: Files are missing, cannot be read or do not fit together.
    """
    assert isinstance(method, MetaSegNet)
    images, labels = read_support(Path(folder).expanduser())
    method.to(device)
    names = (BACKGROUND, *(f"class {number}" for number in range(1, int(labels[labels != IGNORE].max()) + 1)))
    method.network.set_classes(len(names))
    method.memory.commit(method.fitted(normalize(images.to(device)), labels.to(device)))
    return LabelSpace(names, bit_palette(len(names)))


def read_support(folder: Path) -> tuple[Tensor, Tensor]:
    """Read images `(S, 3, H, W)` uint8 and labels `(S, H, W)` of 0 to K or 255; a DataError where these are none."""
    images, labels = _files(folder / "images"), _files(folder / "labels")
    if unpaired := sorted(images.keys() ^ labels.keys()) or ([] if images else ["no file"]):
        raise DataError(f"support={folder}: image or label is missing: {first_names(unpaired)}. {LAYOUT}")
    pairs: list[tuple[Tensor, Tensor]] = []
    for name, path in sorted(images.items()):
        rgb, label = read_rgb(path), np.asarray(decode(labels[name]).picture)
        shape = tuple(pairs[0][1].shape) if pairs else rgb.shape[:2]
        if label.dtype != np.uint8 or label.shape != shape or rgb.shape[:2] != shape:
            raise DataError(f"support={folder}: {name} has an image of {rgb.shape[:2]} and a label of {label.shape}. {LAYOUT}")
        pairs.append(to_tensors(rgb, label))
    stacked = torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])
    values = [value for value in stacked[1].unique().tolist() if value not in (0, IGNORE)]
    if not values or values != list(range(1, len(values) + 1)):
        raise DataError(f"support={folder}: the labels show the classes {values}. {LAYOUT}")
    return stacked


def support_digest(folder: str | Path) -> str:
    """SHA-256 of the files of a support."""
    digest = hashlib.sha256()
    for part in ("images", "labels"):
        for name, path in sorted(_files(Path(folder).expanduser() / part).items()):
            digest.update(f"{part}/{name}".encode() + path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names without suffix, hidden ones left out."""
    return {path.stem: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")} if folder.is_dir() else {}
