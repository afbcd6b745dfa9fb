"""Many images and videos: read ahead, segmented in batches, written behind; what is done is not done again."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.prediction.inputs import Item
from pin_memory.prediction.outputs import Saving, write_picture
from pin_memory.prediction.reading import read_rgb
from pin_memory.prediction.segmenting import Model, Segmentation
from pin_memory.utils.errors import DataError, ResourceError

T = TypeVar("T")
R = TypeVar("R")
Read = tuple[Item, np.ndarray | DataError]
Segmented = tuple[Item, np.ndarray, Segmentation] | tuple[Item, DataError]


@dataclass
class Outcome:
    """What has been made, what was there already, and what could not be read, with the reason."""

    made: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def predict_items(model: Model, items: Sequence[Item], output: Path, saving: Saving, batch_size: int = 1, workers: int = 2) -> Outcome:
    """Segment images and videos; one that cannot be read does not keep the others from being segmented.

    Args:
        model: What segments images.
        items: The images and videos.
        output: The output folder.
        saving: What is saved; images of which all is there are skipped.
        batch_size: Images that are segmented together where their sizes agree; neighbours in the list are looked at.
        workers: Threads that read and write while the network runs.

    Raises:
        OutputError: A result cannot be written.
        ResourceError: The GPU has too little memory.
    """
    outcome = Outcome()
    images = [item for item in items if not item.is_video]
    for item in images:
        done = saving.done(item.path, list(saving.files(output / item.name, saving.kinds_of(item)).values()))
        (outcome.skipped if done else outcome.made).append(item)
    try:
        _predict_images(model, images, output, saving, batch_size, workers, outcome)
        for item in items:
            if item.is_video:
                _predict_video(model, item, output, saving, batch_size, outcome)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"The GPU's memory does not hold batch_size={batch_size} of such images. Lower batch_size, choose a protocol with windows"
            " (protocol=sliding_768), or say device=cpu; what is done stays."
        ) from error
    return outcome


def results_there(items: Sequence[Item], output: Path, saving: Saving) -> Iterator[Path]:
    """The files that `predict_items` would replace."""
    from pin_memory.prediction import video

    for item in items:
        if item.is_video:
            yield from video.results_there(item, output, saving)
        else:
            yield from (path for path in saving.files(output / item.name, saving.kinds_of(item)).values() if path.exists())


def _predict_images(
    model: Model, images: Sequence[Item], output: Path, saving: Saving, batch_size: int, workers: int, outcome: Outcome
) -> None:
    """Segment the images that are not done; those that cannot be read move to `outcome.broken`."""
    pending = outcome.made[:]
    bar = tqdm(total=len(images), initial=len(outcome.skipped), desc="segmenting", unit="image", disable=None)
    pool = ThreadPoolExecutor(workers)

    def write(segmented: Segmented) -> Segmented:
        if len(segmented) == 3:
            item, rgb, found = segmented
            write_picture(output, item.name, saving.kinds_of(item), saving, rgb, found, model.label_space)
        return segmented

    try:
        readings = ahead(pool, _read, pending, depth=batch_size + workers)
        for segmented in ahead(pool, write, _segment(model, readings, batch_size), depth=batch_size + workers):
            if len(segmented) == 2:
                outcome.made.remove(segmented[0])
                outcome.broken.append(str(segmented[1]))
            bar.update()
    finally:
        pool.shutdown()  # what is segmented is still written, whatever has happened
        bar.close()


def _predict_video(model: Model, item: Item, output: Path, saving: Saving, batch_size: int, outcome: Outcome) -> None:
    """Segment a video."""
    from pin_memory.prediction.video import predict_video

    try:
        made = predict_video(model, item, output, saving, batch_size)
        (outcome.made if made else outcome.skipped).append(item)
    except DataError as error:
        outcome.broken.append(str(error))


def ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """What `work` makes of each item, in order, while up to `depth` more are in the works."""
    futures: deque[Future[R]] = deque()
    for item in items:
        futures.append(pool.submit(work, item))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _read(item: Item) -> Read:
    """An image, or why it cannot be read."""
    try:
        return item, read_rgb(item.path)
    except DataError as error:
        return item, error


def _segment(model: Model, readings: Iterable[Read], batch_size: int) -> Iterator[Segmented]:
    """Segment neighbours of one size together."""
    batch: list[tuple[Item, np.ndarray]] = []
    for item, rgb in readings:
        if isinstance(rgb, DataError):
            yield item, rgb
            continue
        if batch and (len(batch) == batch_size or batch[0][1].shape != rgb.shape):
            yield from _segment_batch(model, batch)
            batch = []
        batch.append((item, rgb))
    if batch:
        yield from _segment_batch(model, batch)


def _segment_batch(model: Model, batch: Sequence[tuple[Item, np.ndarray]]) -> Iterator[Segmented]:
    """Segment images of one size."""
    found = model([rgb for _, rgb in batch])
    yield from ((item, rgb, segmentation) for (item, rgb), segmentation in zip(batch, found, strict=True))
