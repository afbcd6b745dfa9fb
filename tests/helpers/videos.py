"""Small videos, written and read."""

from pathlib import Path

import cv2
import numpy as np

from pin_memory.prediction import Item, find_inputs

FRAMES = 7


def make(path: Path, size: tuple[int, int] = (64, 48), rate: float = 30000 / 1001) -> Item:
    """A video whose frames get lighter; an AVI file may have an odd size."""
    backend, codec = (cv2.CAP_OPENCV_MJPEG, "MJPG") if path.suffix == ".avi" else (cv2.CAP_FFMPEG, "mp4v")
    writer = cv2.VideoWriter(str(path), backend, cv2.VideoWriter.fourcc(*codec), rate, size)
    for number in range(FRAMES):
        writer.write(np.full((size[1], size[0], 3), 30 * number, np.uint8))
    writer.release()
    return find_inputs(path).items[0]


def read(path: Path) -> tuple[float, list[np.ndarray]]:
    """Frame rate and frames, RGB."""
    capture = cv2.VideoCapture(str(path))
    rate, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return rate, frames
