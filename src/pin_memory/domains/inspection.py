"""Looking at the files of a data set: cheaply by their first and last bytes, or by decoding them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pin_memory.domains.base import Domain
from pin_memory.domains.listing import Sample
from pin_memory.errors import DataError

Size = tuple[int, int]
"""Width and height in pixels."""

_HEAD, _TAIL = 4096, 1024  # bytes
_ENDS = {b"\x89PNG": (b"IEND", "the end chunk of a PNG"), b"\xff\xd8": (b"\xff\xd9", "the end mark of a JPEG")}
_JSON_SIZE = tuple(re.compile(rb'"%s"\s*:\s*(\d+)' % side) for side in (b"imgWidth", b"imgHeight"))


@dataclass(frozen=True)
class Glance:
    """What the first and last bytes of a file tell.

    Attributes:
        size: Of the picture; None where they do not tell.
        problem: Why the file cannot be decoded; None where nothing speaks against it.
    """

    size: Size | None
    problem: str | None = None


@dataclass(frozen=True)
class Fault:
    """Something wrong with a pair.

    Attributes:
        kind: One of `pin_memory.check_findings.KINDS`.
        where: The file or the name of the sample.
        detail: What is wrong with it, in a few words; may be empty.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class Inspected:
    """What decoding a pair showed.

    Attributes:
        raw: Pixels of each raw id, (256,) int64; None where the reader does not go through raw ids or the label cannot be decoded.
        classes: Pixels of each class and, last, of the ignored ones, (K + 1,) int64; None where the label cannot be decoded.
        faults: What is wrong with it.
    """

    raw: np.ndarray | None
    classes: np.ndarray | None
    faults: tuple[Fault, ...]


def glance(path: Path) -> Glance:
    """Read a file's size in pixels from its head and see whether its end is there; nothing is decoded.

    Finds empty files, files of another kind, and downloads that broke off. Damage in the middle of a file takes decoding to find.

    Args:
        path: A picture, or a JSON file of polygons with imgWidth and imgHeight.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            tail = file.read()
            if not head:
                return Glance(None, "an empty file")
            if path.suffix.lower() == ".json":
                return _glance_json(head, tail)
            file.seek(0)
            with Image.open(file) as picture:
                size = picture.size
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        return Glance(None, "not a picture" if unknown else getattr(error, "strerror", None) or str(error))
    for start, (end, name) in _ENDS.items():
        if head.startswith(start) and end not in tail:
            return Glance(size, f"truncated: {name} is missing")
    return Glance(size)


def _glance_json(head: bytes, tail: bytes) -> Glance:
    found = [pattern.search(head) or pattern.search(tail) for pattern in _JSON_SIZE]
    width, height = (int(match[1]) if match else None for match in found)
    problem = None if tail.rstrip().endswith(b"}") else "truncated: the closing brace is missing"
    return Glance((width, height) if width and height else None, problem)


def glance_pair(sample: Sample) -> tuple[Size | None, list[Fault]]:
    """Look at a pair's files without decoding them.

    Returns:
        The size of the image, and the faults.
    """
    image, label = glance(sample.image), glance(sample.label)
    files = ((sample.image, image), (sample.label, label))
    faults = [Fault("undecodable", str(path), file.problem) for path, file in files if file.problem]
    if image.size and label.size and image.size != label.size:
        faults.append(differ(sample, image.size, label.size))
    return image.size, faults


def differ(sample: Sample, image: Size, label: Size) -> Fault:
    """The fault of a pair whose image and label differ in size."""
    return Fault("size_mismatch", str(sample.image), f"image {image[0]}x{image[1]}, label {label[0]}x{label[1]}")


def inspect_pair(domain: Domain, index: int) -> Inspected:
    """Decode a pair, count the pixels of its label, and see what is wrong with it."""
    sample = domain.samples[index]
    faults: list[Fault] = []
    raw = classes = label = None
    try:
        label, raw = decode_label(domain, sample)
        classes = count_classes(label, len(domain.label_space))
        faults += _judge_label(domain, sample, label, classes)
    except DataError as error:
        faults.append(Fault("undecodable", str(sample.label), _reason(error, sample.label)))
    try:
        image = domain.read_image(sample)
        if (image == image[0, 0]).all():
            faults.append(Fault(_published(domain, sample) or "single_colour_image", str(sample.image)))
        if label is not None and image.shape[:2] != label.shape:
            faults.append(differ(sample, image.shape[1::-1], label.shape[::-1]))
    except DataError as error:
        faults.append(Fault("undecodable", str(sample.image), _reason(error, sample.image)))
    return Inspected(raw, classes, tuple(faults))


def decode_label(domain: Domain, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode a label once.

    Returns:
        Train ids (H, W) uint8, and the pixels of each raw id, (256,) int64 (None where a reader has its own way from file to train ids).

    Raises:
        DataError: As `Domain.read_label`.
    """
    if type(domain).read_label is not Domain.read_label:
        return domain.read_label(sample), None
    raw = domain.read_raw_label(sample.label)
    return np.asarray(cv2.LUT(raw, domain.table)), np.bincount(raw.ravel(), minlength=256)


def count_classes(label: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class and, last, of all other values, (classes + 1,) int64.

    Args:
        label: Train ids, (H, W) uint8.
        classes: Number of classes.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    return np.append(counts[:classes], counts[classes:].sum())


def _judge_label(domain: Domain, sample: Sample, label: np.ndarray, classes: np.ndarray) -> list[Fault]:
    if not classes[:-1].any():
        return [Fault("all_ignored", str(sample.label))]
    if (label == label[0, 0]).all():
        return [Fault(_published(domain, sample) or "single_class_label", str(sample.label), f"train id {label[0, 0]}")]
    return []


def _published(domain: Domain, sample: Sample) -> str | None:
    """The kind of finding for a pair that is known to be of a single colour or class, as it was published; None for others."""
    return "published_single_colour" if sample.name in domain.known_single_colour else None


def _reason(error: DataError, path: Path) -> str:
    """The middle of a message: without the path in front and the advice behind."""
    return str(error).removeprefix(f"{path}: ").removeprefix("cannot be decoded ").partition(". ")[0]
