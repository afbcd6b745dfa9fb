"""Class frequencies of a data set, counted once and kept in the user's cache."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pin_memory.domains.loading.parallel import in_parallel
from pin_memory.domains.readers.base import Domain
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.files import atomic_write, cache_folder
from pin_memory.utils.safe_load import load_arrays

log = logging.getLogger(__name__)

_VERSION = 1  # of what is stored: raise it when the meaning changes


def class_counts(domain: Domain, workers: int | None = None, skip: Callable[[str, str], None] | None = None) -> np.ndarray:
    """Count the pixels of each class in each label of a split; from the cache where nothing changed since they were counted.

    Pixels of each class and, last, ignored, for each of `domain.samples`, (N, K + 1) int64. `skip` gets name and fault of each sample whose
    label cannot be read, which then counts as without pixels; without it, that raises a DataError.
    """
    try:
        fingerprint(domain)
    except OSError as error:  # before many labels are decoded in vain
        if skip is not None:
            return _readable_counts(domain, workers, skip)
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror or error}). A label of {domain.title} is behind a broken link, or was "
            "taken away: get this file again."
        ) from error
    if (stored := stored_counts(domain)) is not None:
        return stored
    title = f"{domain.title}: counting classes"
    log.info("%s in %d labels, once; kept in %s", title, len(domain), cache_folder("statistics"))
    if skip is not None:
        return _readable_counts(domain, workers, skip)
    counts = np.stack(list(in_parallel(_count, domain, range(len(domain)), workers, title)))
    store_counts(domain, counts)
    return counts


def _readable_counts(domain: Domain, workers: int | None, skip: Callable[[str, str], None]) -> np.ndarray:
    """As `class_counts` with `skip`; kept in the cache only where all labels could be read."""
    counts = np.zeros((len(domain), len(domain.label_space) + 1), np.int64)
    complete = True
    found = in_parallel(_count_or_fault, domain, range(len(domain)), workers, f"{domain.title}: counting classes")
    for sample, row, own in zip(domain.samples, counts, found, strict=True):
        if isinstance(own, str):
            complete = False
            skip(sample.name, own)
        else:
            row[:] = own
    if complete:
        store_counts(domain, counts)
    return counts


def stored_counts(domain: Domain) -> np.ndarray | None:
    """The counts as `class_counts` returns them if the cache has them; otherwise, or when a label cannot be read, None."""
    shape = (len(domain), len(domain.label_space) + 1)
    try:
        counts = load_arrays(_cache_file(domain), "counts")["counts"]
    except (OSError, DataError):  # not there, or damaged: counted anew
        return None
    return counts if counts.shape == shape else None


def store_counts(domain: Domain, counts: np.ndarray) -> None:
    """Keep counts for the next time; a cache that cannot be written is only reported, and a split that cannot be read is left out."""
    try:
        path = _cache_file(domain)
    except OSError:  # a label went away meanwhile: the counts are of files that are no more
        return
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, counts=counts)
    except OSError as error:
        log.warning("The class frequencies of %s cannot be kept in %s (%s).", domain.title, path.parent, error.strerror or error)


def fingerprint(domain: Domain) -> str:
    """A name for what the counts of a split depend on: the label files (place below the root, length, time), encoding and table.

    Of a file that is the label of several samples, also which of them the split has.
    """
    digest = hashlib.sha256()
    reader = f"{type(domain).__module__}.{type(domain).__qualname__}"
    digest.update(repr((_VERSION, reader, domain.layout.name, domain.layout.encoding, domain.label_space.names)).encode())
    digest.update(domain.table.tobytes())
    sources = domain.label_sources()
    if shared := [sample.name for sample in domain.samples if sample.label in sources]:
        digest.update(repr(shared).encode())
    for path in (*dict.fromkeys(sample.label for sample in domain.samples), *sources):
        status = path.stat()
        digest.update(f"{_below(path, domain.root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def class_shares(counts: np.ndarray) -> np.ndarray:
    """Share of each class of the labelled pixels, (K,) float64 that sums to 1, or all 0 where no pixel is labelled."""
    labelled = counts[:, :-1].sum(axis=0, dtype=np.float64)
    return labelled / max(labelled.sum(), 1.0)


def rare_class_probabilities(counts: np.ndarray, temperature: float) -> np.ndarray:
    """How often rare-class sampling asks for each class: softmax((1 - f) / T) over the classes that occur (Hoyer et al., DAFormer, eq. 5).

    From the pixels of each class and, last, ignored, (N, K + 1), to (K,) float64 that sums to 1; 0 for classes that never occur.
    """
    shares = class_shares(counts)
    present = shares > 0
    if not present.any():
        raise ConfigurationError("loading.sampling=rare_class: no label of the data set has a pixel of any class.")
    logits = np.where(present, (1 - shares) / temperature, -np.inf)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def images_with(counts: np.ndarray, min_share: float) -> Sequence[np.ndarray]:
    """For each class, the indices of the images with at least so large a share of it; where there is none, of all that have any of it."""
    needed = np.maximum(min_share * counts.sum(axis=1), 1)
    found = []
    for pixels in counts[:, :-1].T:
        well = np.flatnonzero(pixels >= needed)
        found.append(well if len(well) else np.flatnonzero(pixels))
    return found


def _count(domain: Domain, index: int) -> np.ndarray:
    return count_classes(domain.read_label(domain.samples[index]), len(domain.label_space))


def _count_or_fault(domain: Domain, index: int) -> np.ndarray | str:
    try:
        return _count(domain, index)
    except DataError as error:
        return str(error)


def _cache_file(domain: Domain) -> Path:
    return cache_folder("statistics") / f"{fingerprint(domain)}.npz"


def _below(path: Path, root: Path) -> str:
    """A path below the root, so that a data set that was moved keeps its counts."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def count_classes(label: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class and, last, of all other values, (classes + 1,) int64."""
    counts = np.bincount(label.ravel(), minlength=256)
    return np.append(counts[:classes], counts[classes:].sum())
