"""Looking at the files of a data set: all by Pillow's `verify`, which decodes nothing, and some or all by decoding them."""

import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pin_memory.domains.checks.findings import Fault
from pin_memory.domains.loading.class_statistics import count_classes
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.domains.readers.label_maps import read_codes
from pin_memory.domains.readers.layouts import Sample
from pin_memory.utils.decoding import PILLOW_ERRORS, describe_turns, opened, read_head, unknown_kind
from pin_memory.utils.errors import DataError
from pin_memory.utils.safe_load import read_json

Size = tuple[int, int]
"""Width and height in pixels."""

_COLOURS = 20  # unlisted ones of a label that are reported, the most frequent
_DECODING_ERRORS = (DataError, Image.DecompressionBombError)  # a reader of one's own may leave the second to Pillow


@dataclass(frozen=True)
class Inspected:
    """What decoding a pair showed; the counts are None where the label cannot be decoded."""

    raw: np.ndarray | None  # pixels of each raw id, (256,) int64; also None where the reader does not go through raw ids
    classes: np.ndarray | None  # pixels of each class and, last, of the ignored ones, (K + 1,) int64
    faults: tuple[Fault, ...]
    unlisted: dict[str, int] = field(default_factory=dict)  # pixels of each raw id or colour that is not listed, the most frequent ones


def verify(path: Path, decode: bool = False) -> tuple[Size | None, list[Fault]]:
    """The size of a picture as it is read, or of a JSON file of polygons, whether it is turned, and why it cannot be decoded.

    The checksums of a PNG show all damage; of a JPEG only the head is read, unless it is decoded.
    """
    size: Size | None = None
    faults: list[Fault] = []
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None, [Fault("unreadable", str(path), "a folder, a pipe or a device")]
        if not status.st_size:
            return None, [Fault("empty", str(path), "an empty file")]
        if path.suffix.lower() == ".mat":  # which is no picture: decoding it shows whether it is intact
            return None, []
        if path.suffix.lower() == ".json":
            content = read_json(path)
            width, height = (content.get(side) if isinstance(content, dict) else None for side in ("imgWidth", "imgHeight"))
            return (width, height) if isinstance(width, int) and isinstance(height, int) else None, []
        with opened(path) as picture:
            size, turn = read_head(picture, path)
            if turn > 1:
                faults.append(Fault("turned", str(path), f"EXIF orientation {turn}"))
        with opened(path) as picture:  # which has to be untouched
            if decode:
                picture.load()
            else:
                picture.verify()
    except DataError as error:
        faults.append(Fault("too_large", str(path), str(error).removeprefix(f"{path}: ")))
    except PILLOW_ERRORS as error:
        faults.append(_explain(path, error))
    return size, faults


def _explain(path: Path, error: Exception) -> Fault:
    """The fault behind an error of Pillow, of the file system or of a JSON parser."""
    if isinstance(error, OSError) and error.errno is not None:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        return Fault("unreadable", str(path), f"a broken link to {path.readlink()}" if broken else error.strerror or str(error))
    if isinstance(error, UnidentifiedImageError):
        kind = unknown_kind(path)
        return Fault("undecodable" if "TIFF" in kind else "not_a_picture", str(path), kind)
    return Fault("truncated" if "truncated" in str(error).lower() else "undecodable", str(path), str(error))


def verify_pair(sample: Sample, shared: Collection[Path] = ()) -> tuple[Size | None, list[Fault]]:
    """The size of a pair's image, and the faults that show without decoding; labels in the files `shared` are not looked at."""
    image, image_faults = verify(sample.image)
    label, label_faults = verify(sample.label) if sample.label not in shared else (None, [])
    faults = image_faults + label_faults
    if image and label and image != label:
        faults.append(_sizes_differ(sample, image, label))
    return image, faults


def _sizes_differ(sample: Sample, image: Size, label: Size) -> Fault:
    turned = ", as EXIF orientation turns them" if describe_turns(sample.image, sample.label) else ""
    return Fault("size_mismatch", str(sample.image), f"image {image[0]}x{image[1]}, label {label[0]}x{label[1]}{turned}")


def inspect_pair(domain: Domain, index: int) -> Inspected:
    """Decode a pair, count the pixels of its label, and see what is wrong with it."""
    sample = domain.samples[index]
    published = "published_single_colour" if sample.name in domain.known_single_colour else None
    faults: list[Fault] = []
    raw = classes = label = None
    unlisted: dict[str, int] = {}
    try:
        if domain.reads_raw_labels:
            ids = domain.read_raw_label(sample.label)
            label, raw = np.asarray(cv2.LUT(ids, domain.table)), np.bincount(ids.ravel(), minlength=256)
            unlisted = _unlisted(domain, sample.label, raw)
        else:  # the reader has its own way from file to train ids
            label = domain.read_label(sample)
        classes = count_classes(label, len(domain.label_space))
        if not classes[:-1].any():
            faults.append(Fault("all_ignored", str(sample.label)))
        elif (label == label[0, 0]).all():
            faults.append(Fault(published or "single_class_label", str(sample.label), f"train id {label[0, 0]}"))
    except _DECODING_ERRORS as error:
        faults.append(_undecodable(sample.label, error, "wrong_encoding"))
    try:
        image = domain.read_image(sample)
        if (image == image[0, 0]).all():
            faults.append(Fault(published or "single_colour_image", str(sample.image)))
        if label is not None and image.shape[:2] != label.shape:
            faults.append(_sizes_differ(sample, image.shape[1::-1], label.shape[::-1]))
    except _DECODING_ERRORS as error:
        faults.append(_undecodable(sample.image, error, "undecodable"))
    return Inspected(raw, classes, tuple(faults), unlisted)


def _unlisted(domain: Domain, path: Path, raw: np.ndarray) -> dict[str, int]:
    """Pixels of each raw id of a label that is not listed, from the pixels of each raw id; for labels that are colours, of each colour."""
    known = range(256) if domain.raw_ids is None else domain.raw_ids
    unlisted = {str(value): int(raw[value]) for value in np.flatnonzero(raw).tolist() if value not in known}
    if unlisted and isinstance(domain, FolderDomain) and domain.colour_table is not None:
        colours = domain.colour_table.unlisted(read_codes(path), _COLOURS)
        return {", ".join(map(str, colour)): pixels for colour, pixels in colours.items()}
    return unlisted


def _undecodable(path: Path, error: Exception, otherwise: str) -> Fault:
    """Why a file cannot be decoded; `otherwise` is the kind for an intact picture that its reader refuses."""
    # The middle of the message: without the path in front and the advice behind.
    reason = str(error).removeprefix(f"{path}: ").removeprefix("cannot be decoded ").partition(". ")[0]
    seen = [fault for fault in verify(path, decode=True)[1] if fault.kind != "turned"]
    return seen[0] if seen else Fault(otherwise, str(path), reason)
