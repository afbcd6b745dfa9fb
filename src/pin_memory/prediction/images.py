"""Many images and videos: read ahead, segmented in batches, written behind; what is done is not done again."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from pin_memory.inference import Predictor, Segmentation
from pin_memory.prediction import video
from pin_memory.prediction.inputs import Item
from pin_memory.prediction.outputs import Saving
from pin_memory.utils.decoding import read_rgb
from pin_memory.utils.errors import DataError, ResourceError

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Outcome:
    """What has been made, what was there already, and what could not be read, with the reason."""

    made: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass
class _Work:
    """An image on its way: read, then segmented, then written; or why it could not be read."""

    item: Item
    rgb: np.ndarray | None = None
    segmentation: Segmentation | None = None
    error: DataError | None = None


def predict_items(model: Predictor, items: Sequence[Item], output: Path, saving: Saving, batch_size: int = 1, workers: int = 2) -> Outcome:
    """Segment images and videos; one that cannot be read does not keep the others from being segmented.

    Args:
        model: What segments images.
        items: The images and videos.
        output: The output folder.
        saving: What is saved; images of which all is there are skipped.
        batch_size: Images that are segmented together where they are neighbours in the list and of one size.
        workers: Threads that read and write while the network runs.

    Returns:
        What has been made, what was there already, and what could not be read.

    Raises:
        OutputError: A result cannot be written.
        ResourceError: The GPU has too little memory.
    """
    outcome = Outcome()
    try:
        _predict_images(model, [item for item in items if not item.is_video], output, saving, batch_size, workers, outcome)
        for item in (item for item in items if item.is_video):
            try:
                made = video.predict_video(model, item, output, saving, batch_size)
                (outcome.made if made else outcome.skipped).append(item)
            except DataError as error:
                outcome.unreadable.append(str(error))
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"The GPU's memory does not hold batch_size={batch_size} of such images. Lower batch_size, choose a protocol with windows"
            " (protocol=sliding_768), or set device=cpu; what is done stays."
        ) from error
    return outcome


def existing_results(items: Sequence[Item], output: Path, saving: Saving) -> Iterator[Path]:
    """The files that `predict_items` would replace."""
    for item in items:
        if item.is_video:
            yield from video.existing_results(item, output, saving)
        else:
            yield from (path for path in saving.files(output / item.name, saving.kinds_of(item)).values() if path.exists())


def _predict_images(
    model: Predictor, images: Sequence[Item], output: Path, saving: Saving, batch_size: int, workers: int, outcome: Outcome
) -> None:
    """Segment the images that are not done, and add all of them to the outcome."""

    def write(work: _Work) -> _Work:
        if work.rgb is not None and work.segmentation is not None:
            saving.write(output / work.item.name, saving.kinds_of(work.item), work.rgb, work.segmentation, model.label_space)
        return work

    pending: list[Item] = []
    for item in images:
        done = saving.is_done(item.path, list(saving.files(output / item.name, saving.kinds_of(item)).values()))
        (outcome.skipped if done else pending).append(item)
    depth = batch_size + workers
    bar = tqdm(total=len(images), initial=len(outcome.skipped), desc="segmenting", unit="image", disable=None)
    with bar, ThreadPoolExecutor(workers) as pool:  # what is segmented is still written, whatever has happened
        read = map_ahead(pool, _read, pending, depth)
        for work in map_ahead(pool, write, _segment(model, saving, read, batch_size), depth):
            if work.error is None:
                outcome.made.append(work.item)
            else:
                outcome.unreadable.append(str(work.error))
            bar.update()


def map_ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """What `work` makes of each item, in order, while threads work on up to `depth` more."""
    futures: deque[Future[R]] = deque()
    for item in items:
        futures.append(pool.submit(work, item))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _read(item: Item) -> _Work:
    try:
        return _Work(item, read_rgb(item.path))
    except DataError as error:
        return _Work(item, error=error)


def _segment(model: Predictor, saving: Saving, works: Iterable[_Work], batch_size: int) -> Iterator[_Work]:
    """Segment what could be read, neighbours of one size together."""
    for _, neighbours in groupby(works, key=lambda work: None if work.rgb is None else work.rgb.shape):
        while batch := list(islice(neighbours, batch_size)):
            images = [work.rgb for work in batch if work.rgb is not None]
            if images:
                kinds = saving.kinds_of(batch[0].item)
                segmentations = model.segment(images, "confidence" in kinds, "logits" in kinds)
                for work, segmentation in zip(batch, segmentations, strict=True):
                    work.segmentation = segmentation
            yield from batch
