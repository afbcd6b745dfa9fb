"""Looking at the files of a data set: cheaply by their first and last bytes, or by decoding them."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pin_memory.domains.loading.class_statistics import count_classes
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.decoding import PILLOW_ERRORS, check_pixels, opened
from pin_memory.domains.readers.layouts import Sample
from pin_memory.utils.errors import DataError
from pin_memory.utils.safe_load import read_json

Size = tuple[int, int]
"""Width and height in pixels."""

_DECODING_ERRORS = (DataError, Image.DecompressionBombError)  # a reader of one's own may leave the second to Pillow
_HEAD, _TAIL = 4096, 1024  # bytes
_ENDS = {b"\x89PNG": (b"IEND", "the end chunk of a PNG"), b"\xff\xd8": (b"\xff\xd9", "the end mark of a JPEG")}
_JSON_SIZE = tuple(re.compile(rb'"%s"\s*:\s*(\d+)' % side) for side in (b"imgWidth", b"imgHeight"))


@dataclass(frozen=True)
class Glance:
    """What the first and last bytes of a file tell.

    Attributes:
        size: Of the picture; None where they do not tell.
        problem: Why the file cannot be decoded; None where nothing speaks against it.
        kind: The kind of finding that the problem is; empty without one.
    """

    size: Size | None
    problem: str | None = None
    kind: str = ""


@dataclass(frozen=True)
class Fault:
    """Something wrong with a pair.

    Attributes:
        kind: One of `pin_memory.domains.checks.kinds.KINDS`.
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

    Finds broken links, empty files, files of another kind, and downloads that broke off. Damage in the middle of a file takes decoding.

    Args:
        path: A picture, or a JSON file of polygons with imgWidth and imgHeight.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Glance(None, "a folder, a pipe or a device", "unreadable")
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            tail = file.read()
            if not head:
                return Glance(None, "an empty file", "empty")
            file.seek(0)
            return (_glance_json if path.suffix.lower() == ".json" else _glance_picture)(file, head, tail)
    except OSError as error:
        broken = isinstance(error, FileNotFoundError) and path.is_symlink()
        return Glance(None, f"a broken link to {path.readlink()}" if broken else error.strerror or str(error), "unreadable")


def _glance_picture(file: BinaryIO, head: bytes, tail: bytes) -> Glance:
    """Judge a picture; what ends too early is called truncated, whatever else it may seem for that."""
    size, problem, kind = None, None, ""
    try:
        with Image.open(file) as picture:
            size = picture.size
        check_pixels("it", *size)
    except DataError as error:
        return Glance(size, str(error).removeprefix("it: "), "too_large")
    except Image.DecompressionBombError as error:
        return Glance(None, str(error), "too_large")
    except UnidentifiedImageError:
        problem, kind = "a web page or XML" if head.lstrip().startswith(b"<") else "not a picture", "not_a_picture"
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the decoder
            raise
        problem, kind = str(error), "undecodable"
    for start, (end, name) in _ENDS.items():
        if head.startswith(start) and end not in tail:
            return Glance(size, f"{name} is missing", "truncated")
    return Glance(size, problem, kind)


def _glance_json(_: BinaryIO, head: bytes, tail: bytes) -> Glance:
    if not head.lstrip().startswith(b"{"):
        return Glance(None, "not a JSON object", "undecodable")
    found = [pattern.search(head) or pattern.search(tail) for pattern in _JSON_SIZE]
    width, height = (int(match[1]) if match else None for match in found)
    whole = tail.rstrip().endswith(b"}")
    size = (width, height) if width and height else None
    return Glance(size) if whole else Glance(size, "the closing brace is missing", "truncated")


def glance_pair(sample: Sample) -> tuple[Size | None, list[Fault]]:
    """Look at a pair's files without decoding them.

    Returns:
        The size of the image, and the faults.
    """
    image, label = glance(sample.image), glance(sample.label)
    files = ((sample.image, image), (sample.label, label))
    faults = [Fault(file.kind, str(path), file.problem) for path, file in files if file.problem]
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
    except _DECODING_ERRORS as error:
        faults.append(_undecodable(sample.label, error, label=True))
    try:
        image = domain.read_image(sample)
        if (image == image[0, 0]).all():
            faults.append(Fault(_published(domain, sample) or "single_colour_image", str(sample.image)))
        if label is not None and image.shape[:2] != label.shape:
            faults.append(differ(sample, image.shape[1::-1], label.shape[::-1]))
    except _DECODING_ERRORS as error:
        faults.append(_undecodable(sample.image, error))
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


def _judge_label(domain: Domain, sample: Sample, label: np.ndarray, classes: np.ndarray) -> list[Fault]:
    if not classes[:-1].any():
        return [Fault("all_ignored", str(sample.label))]
    if (label == label[0, 0]).all():
        return [Fault(_published(domain, sample) or "single_class_label", str(sample.label), f"train id {label[0, 0]}")]
    return []


def _published(domain: Domain, sample: Sample) -> str | None:
    """The kind of finding for a pair that is known to be of a single colour or class, as it was published; None for others."""
    return "published_single_colour" if sample.name in domain.known_single_colour else None


def _undecodable(path: Path, error: Exception, *, label: bool = False) -> Fault:
    """Why a file cannot be decoded: a whole label that its reader refuses is in another encoding than it should be."""
    look = glance(path)
    if look.problem:
        return Fault(look.kind, str(path), look.problem)
    # The middle of the message: without the path in front and the advice behind.
    reason = str(error).removeprefix(f"{path}: ").removeprefix("cannot be decoded ").partition(". ")[0]
    return Fault("wrong_encoding" if label and _is_whole(path) else "undecodable", str(path), reason)


def _is_whole(path: Path) -> bool:
    """Whether a picture or JSON file can be decoded, whatever it holds."""
    try:
        if path.suffix.lower() == ".json":
            read_json(path)
        else:
            with opened(path) as picture:
                picture.load()
    except (*_DECODING_ERRORS, *PILLOW_ERRORS):
        return False
    return True
