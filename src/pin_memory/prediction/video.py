"""A video, frame by frame: written back as a video in the network's colours, and, where that is wanted, as files per frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.domains.readers.decoding import check_pixels
from pin_memory.prediction.inputs import Item
from pin_memory.prediction.outputs import Saving, picture_of, write_picture
from pin_memory.prediction.segmenting import Model
from pin_memory.utils.errors import DataError, OutputError
from pin_memory.utils.files import atomic_write

AS_VIDEO = ("overlay", "color")
"""Kinds that are written as a video; the others lose what they are by lossy compression, and are written as a file per frame."""
_ENOUGH = 0.9
"""Share of the announced frames that must be there: the number that a file tells is an estimate for some formats."""


def predict_video(segmenter: Model, item: Item, output: Path, saving: Saving, batch_size: int = 1) -> bool:
    """Segment a video.

    `overlay` and `color` become videos of the same size, frame rate and number of frames, without sound; `mask`, `confidence` and
    `logits` a file per frame in `<name>_frames/`. Video files are whole or absent, so an interrupted video starts again; files per frame
    that are there stay.

    Args:
        segmenter: What segments frames.
        item: The video.
        output: The output folder.
        saving: What is saved.
        batch_size: Frames segmented together.

    Returns:
        Whether there was anything to do.

    Raises:
        DataError: It is no readable video, or one that ends early (what could be read is written).
        OutputError: A result cannot be written.
    """
    kinds = saving.kinds_of(item)
    frame_kinds = [kind for kind in kinds if kind not in AS_VIDEO]
    with _opened(item.path) as capture, ExitStack() as stack:
        size, rate, announced = _size(capture), capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        targets = {kind: _target(output / item.name, kind, size) for kind in kinds if kind in AS_VIDEO}
        if saving.done(item.path, list(targets.values())):
            if not frame_kinds:
                return False
            targets = {}
        writers = {kind: stack.enter_context(_writer(path, size, rate, item.path)) for kind, path in targets.items()}
        bar = stack.enter_context(tqdm(total=max(0, announced) or None, desc=item.path.name, unit="frame", disable=None))
        frames, count, made = _frames(capture), 0, bool(writers)
        while batch := list(islice(frames, batch_size)):
            made |= _predict_frames(segmenter, item, range(count, count + len(batch)), batch, output, saving, frame_kinds, writers)
            count += len(batch)
            bar.update(len(batch))
        if count == 0:
            raise DataError(f"{item.path}: no frame of this video could be read")
    if count < _ENOUGH * announced:
        raise DataError(f"{item.path}: only {count} of {announced} frames could be read; is the file complete?")
    return made


def _predict_frames(
    segmenter: Model,
    item: Item,
    numbers: range,
    frames: Sequence[np.ndarray],
    output: Path,
    saving: Saving,
    frame_kinds: Sequence[str],
    writers: Mapping[str, Callable[[np.ndarray], None]],
) -> bool:
    """Segment frames, and hand them to the videos and to the files per frame; returns whether a file per frame was made."""
    names = [_frame_name(item.name, number) for number in numbers]
    due = [bool(frame_kinds) and not saving.done(item.path, list(saving.files(output / name, frame_kinds).values())) for name in names]
    if not writers and not any(due):
        return False
    for frame, name, wanted, found in zip(frames, names, due, segmenter(frames), strict=True):
        for kind, write in writers.items():
            write(picture_of(kind, saving, frame, found, segmenter.label_space))
        if wanted:
            write_picture(output, name, frame_kinds, saving, frame, found, segmenter.label_space)
    return any(due)


def results_there(item: Item, output: Path, saving: Saving) -> Iterator[Path]:
    """The files that `predict_video` would or might replace."""
    for kind in saving.kinds_of(item):
        if kind in AS_VIDEO:
            sized = (_target(output / item.name, kind, size) for size in ((2, 2), (1, 1)))  # the video is not opened for this
            yield from (path for path in sized if path.exists())
        else:
            (pattern,) = saving.files(Path("*"), [kind]).values()
            yield from sorted((output / _frame_name(item.name, 0)).parent.glob(str(pattern)))


def _target(name: Path, kind: str, size: tuple[int, int]) -> Path:
    """The video file of a kind. Only OpenCV's own writer of Motion JPEG takes an odd width or height as it is."""
    return name.with_name(f"{name.name}_{kind}{'.avi' if _odd(size) else '.mp4'}")


def _odd(size: tuple[int, int]) -> bool:
    return bool(size[0] % 2 or size[1] % 2)


def _frame_name(name: Path, number: int) -> Path:
    """Where the files of a frame go; frames count from 0."""
    return name.with_name(f"{name.name}_frames") / f"{number:06d}"


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """A video to read.

    Raises:
        DataError: It is none, or has no size or frame rate.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened() or min(_size(capture)) <= 0:
            raise DataError(f"{path}: not a readable video, or of a format that is not known")
        check_pixels(path, *_size(capture))
        if not capture.get(cv2.CAP_PROP_FPS) > 0:
            raise DataError(f"{path}: the video tells no frame rate; write it anew with one (ffmpeg -i IN -r RATE OUT.mp4)")
        yield capture
    finally:
        capture.release()


def _size(capture: cv2.VideoCapture) -> tuple[int, int]:
    """Width and height."""
    return int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 RGB, upright."""
    while True:
        found, frame = capture.read()
        if not found:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@contextmanager
def _writer(path: Path, size: tuple[int, int], rate: float, source: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """What takes RGB frames and makes a video file of them, whole or absent.

    Raises:
        DataError: A video of such a size and rate cannot be written.
        OutputError: The file cannot be written, or is not whole in the end (OpenCV does not tell of a full disk).
    """
    if _odd(size) and rate != round(rate):
        raise DataError(
            f"{source}: a video of {size[0]}x{size[1]} at {rate:g} frames a second cannot be written: with an odd width or height the rate"
            " must be whole. Save frames instead (save=[mask]), or crop it first (ffmpeg -i IN -vf crop=trunc(iw/2)*2:trunc(ih/2)*2 OUT)."
        )
    backend, codec = (cv2.CAP_OPENCV_MJPEG, "MJPG") if _odd(size) else (cv2.CAP_FFMPEG, "mp4v")
    full = f"Cannot write the video {path}: Free some space or choose another folder."
    count = 0
    try:
        with atomic_write(path) as temporary:
            writer = cv2.VideoWriter(str(temporary), backend, cv2.VideoWriter.fourcc(*codec), rate, size)
            if not writer.isOpened():
                raise OutputError(f"Cannot write the video {path} of {size[0]}x{size[1]} pixels: OpenCV has no writer for it here.")

            def write(frame: np.ndarray) -> None:
                nonlocal count
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
                count += 1

            try:
                yield write
            finally:
                writer.release()
            if _count(temporary) != count:
                raise OutputError(full)
    except OSError as error:
        raise OutputError(f"{full} ({error.strerror or error})") from error


def _count(path: Path) -> int:
    """The number of frames that a finished video holds, by its index."""
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count
