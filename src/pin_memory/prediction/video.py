"""A video, frame by frame: written back as a video in the network's colours, and, where that is requested, as files per frame."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.inference import Predictor
from pin_memory.prediction.inputs import Item
from pin_memory.prediction.outputs import Kind, Saving
from pin_memory.utils.decoding import check_pixels
from pin_memory.utils.errors import DataError, OutputError
from pin_memory.utils.files import atomic_write, report_write_errors

log = logging.getLogger(__name__)

AS_VIDEO = ("overlay", "color")
"""Kinds that are written as a video; the others would not survive lossy compression, and are written as a file per frame."""
_ENOUGH = 0.9  # share of the announced frames that must be there: the number in a file is an estimate for some formats
Write = Callable[[np.ndarray], object]


def predict_video(model: Predictor, item: Item, output: Path, saving: Saving, batch_size: int = 1) -> bool:
    """Segment a video, and return whether there was anything to do.

    `overlay` and `color` become videos of the same frame rate and number of frames, without sound; `mask`, `confidence` and `logits` a file
    per frame in `<name>_frames/`. Video files are complete or absent, so an interrupted video starts again; files per frame that are there
    stay. A DataError says that it is no readable video, or one that ends early; what could be read is written then.
    """
    videos = {kind: _video_file(output / item.name, kind) for kind in saving.kinds_of(item) if kind in AS_VIDEO}
    frame_kinds = [kind for kind in saving.kinds_of(item) if kind not in AS_VIDEO]
    with _opened(item.path) as capture, ExitStack() as stack:
        if saving.is_done(item.path, list(videos.values())):
            if not frame_kinds:
                return False
            videos = {}
        writers = {kind: stack.enter_context(_writer(path, capture)) for kind, path in videos.items()}
        announced, count, made = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0, bool(writers)
        bar = stack.enter_context(tqdm(total=max(0, announced) or None, desc=item.path.name, unit="frame", disable=None))
        frames = _frames(capture)
        while batch := list(islice(frames, batch_size)):
            names = [_frame_name(output / item.name, count + index) for index in range(len(batch))]
            made |= _predict_frames(model, item, batch, names, saving, frame_kinds, writers)
            count += len(batch)
            bar.update(len(batch))
        if count == 0:
            raise DataError(f"{item.path}: no frame of this video could be read")
    if count < _ENOUGH * announced:
        raise DataError(f"{item.path}: only {count} of {announced} frames could be read; is the file complete?")
    return made


def existing_results(item: Item, output: Path, saving: Saving) -> Iterator[Path]:
    """The files that `predict_video` would or might replace."""
    for kind in saving.kinds_of(item):
        if kind in AS_VIDEO:
            path = _video_file(output / item.name, kind)
            yield from [path] if path.exists() else []
        else:
            (pattern,) = saving.files(Path("*"), [kind]).values()
            yield from sorted(_frame_name(output / item.name, 0).parent.glob(str(pattern)))


def _predict_frames(
    model: Predictor,
    item: Item,
    frames: Sequence[np.ndarray],
    names: Sequence[Path],
    saving: Saving,
    frame_kinds: Sequence[Kind],
    writers: Mapping[Kind, Write],
) -> bool:
    """Segment frames, and hand them to the videos and to the files per frame; returns whether a file per frame was made."""
    missing = [bool(frame_kinds) and not saving.is_done(item.path, list(saving.files(name, frame_kinds).values())) for name in names]
    if not writers and not any(missing):
        return False
    segmentations = model.segment(frames, "confidence" in frame_kinds, "logits" in frame_kinds)
    for frame, name, is_missing, found in zip(frames, names, missing, segmentations, strict=True):
        for kind, write in writers.items():
            write(saving.picture(kind, frame, found, model.label_space))
        if is_missing:
            saving.write(name, frame_kinds, frame, found, model.label_space)
    return any(missing)


def _video_file(name: Path, kind: Kind) -> Path:
    return name.with_name(f"{name.name}_{kind}.mp4")


def _frame_name(name: Path, number: int) -> Path:
    """Where the files of a frame go; frames count from 0."""
    return name.with_name(f"{name.name}_frames") / f"{number:06d}"


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """A video to read, which has a size and a frame rate."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    # Lines of FFmpeg and OpenCV would drown the message. OpenCV asks for FFmpeg's level when it opens its first video.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened() or min(_size(capture)) <= 0:
            raise DataError(f"{path}: not a readable video, or of a format that is not known")
        check_pixels(path, *_size(capture))
        if not capture.get(cv2.CAP_PROP_FPS) > 0:
            raise DataError(f"{path}: the video has no frame rate; write it again with one (ffmpeg -i IN -r RATE OUT.mp4)")
        yield capture
    finally:
        capture.release()
        cv2.utils.logging.setLogLevel(level)


def _size(capture: cv2.VideoCapture) -> tuple[int, int]:
    """Width and height."""
    return int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """The frames `(H, W, 3)` uint8 RGB, upright."""
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


@contextmanager
def _writer(path: Path, source: cv2.VideoCapture) -> Iterator[Write]:
    """Takes RGB frames `(H, W, 3)` uint8 and makes a video file of them, complete or absent, with the rate of the source.

    MPEG-4 has even sizes only, so the last row or column of an odd one is cut off.
    """
    size = _size(source)
    width, height = (side - side % 2 for side in size)
    if (width, height) != size:
        log.warning("%s: MPEG-4 has no odd sizes; cropped from %dx%d to %dx%d.", path, *size, width, height)
    with report_write_errors(path, "the video "), atomic_write(path) as temporary:
        writer = cv2.VideoWriter(
            str(temporary), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), source.get(cv2.CAP_PROP_FPS), (width, height)
        )
        if not writer.isOpened():
            raise OutputError(f"Cannot write the video {path} of {width}x{height} pixels: OpenCV has no writer for it here.")
        try:
            yield lambda frame: writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        # OpenCV does not report a full disk; the file then has no index, which is written last.
        if not cv2.VideoCapture(str(temporary)).isOpened():
            raise OutputError(f"Cannot write the video {path}: it is incomplete. Free some space or choose another folder.")
