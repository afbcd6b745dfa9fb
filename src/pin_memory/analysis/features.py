"""Class features of a domain: what the encoder makes of a class before the memory is read, and what the decoder gets after."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.memory import operations
from pin_memory.methods.batches import evaluation_mode
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.images import normalize
from pin_memory.utils.installation import install_hint
from pin_memory.utils.similarity import unit_rows

MEMORY_ITEM, TEXT, VISUAL_TEXT = -1, -2, -3
"""In place of the number of a domain, for points that are memory items, text prototypes, or these after they have looked at images."""


class ClassFeatures(NamedTuple):
    """Share-weighted sums of unit feature vectors by image and class.

    A cell counts for a class with the share of the class in it, as in the memory's write (eq. 4 of the paper), so that sums over images
    divided by `shares` summed over images are the prototypes of a write, but of the features themselves instead of the update network's.
    """

    before: np.ndarray  # (N, K, C) float64, of the encoder's features q, which the memory is asked with
    after: np.ndarray | None  # (N, K, C) float64, of the fused features that the decoder gets; None without a memory
    shares: np.ndarray  # (N, K) float64, feature cells that a class fills
    names: tuple[str, ...]  # the N images

    def image_means(self, which: str = "before") -> np.ndarray:
        """Mean vectors `(N, K, C)` of each class in each image, NaN where the image does not show it."""
        return _divided(self._sums(which), self.shares)

    def means(self, which: str = "before") -> np.ndarray:
        """Mean vectors `(K, C)` of each class over all images, NaN where none shows it."""
        return _divided(self._sums(which).sum(axis=0), self.shares.sum(axis=0))

    def half(self, number: int) -> "ClassFeatures":
        """Every other image, from the one of `number` 0 or 1."""
        after = None if self.after is None else self.after[number::2]
        return ClassFeatures(self.before[number::2], after, self.shares[number::2], self.names[number::2])

    def _sums(self, which: str) -> np.ndarray:
        sums = {"before": self.before, "after": self.after}.get(which)
        if sums is None:
            found = "this network has no memory, hence only before" if which == "after" else f"found {which!r}"
            raise ConfigurationError(f"Class features are those before or after the memory is read; {found}.")
        return sums


class FeaturePoints(NamedTuple):
    """Unit vectors of classes in images, and of memory items."""

    vectors: np.ndarray  # (P, C) float64, unit rows
    classes: np.ndarray  # (P,) int64 train ids
    domains: np.ndarray  # (P,) int64, positions in `names`; below 0 for a memory item or a prototype
    names: tuple[str, ...]  # the domains


@torch.inference_mode()
def class_features(
    network: MemorySegmenter, batches: Iterable[Mapping[str, Any]], statistics: BatchNormStatistics = RUNNING
) -> ClassFeatures:
    """Pool the features of labelled images by class.

    Args:
        network: The trained network, with or without memory, on its device.
        batches: Of "image" `(B, 3, H, W)`, uint8 or normalised, "label" `(B, H', W')` train ids, and "name", as of evaluation loaders.
        statistics: What batch norm normalises by.

    Returns:
        The sums of all images, in order.
    """
    found: list[tuple[Tensor, Tensor | None, Tensor]] = []
    names: list[str] = []
    device = next(network.parameters()).device
    with evaluation_mode(network), statistics.applied(network):
        for batch in batches:
            names += [str(name) for name in batch["name"]]
            labels = batch["label"].to(device)
            for images in statistics.groups(normalize(batch["image"].to(device))):
                found += _pooled(network, images, labels[: len(images)])
                labels = labels[len(images) :]
    if not found:
        raise ValueError("expected at least one image")
    before, after, shares = zip(*found, strict=True)
    return ClassFeatures(_array(before), None if after[0] is None else _array(after), _array(shares), tuple(names))


@torch.inference_mode()
def memory_items(network: MemorySegmenter, which: str = "before") -> np.ndarray | None:
    """The memory items `(K, C)` float64 among the class features; None without a memory.

    Args:
        network: The trained network.
        which: "before": the items themselves, which live among the encoder's features; "after": the fused features of a cell that
            equals the item, so that they live among what the decoder gets. An item that was never written is zero either way.
    """
    if network.memory is None:
        return None
    items = network.memory.directions
    if which == "after":
        with evaluation_mode(network):
            fused = network.read(items.T[None, :, None, :]).fused  # as an image of one row of K cells
        items = operations.unit(fused)[0, :, 0, :].T * items.any(dim=1, keepdim=True)
    return items.double().cpu().numpy()


def feature_points(
    features: Mapping[str, ClassFeatures], which: str = "before", items: np.ndarray | None = None, least_cells: float = 0.5
) -> FeaturePoints:
    """One point for each class in each image, and one for each memory item: what `tsne` lays out.

    Args:
        features: Of each domain.
        which: "before" or "after" the memory is read.
        items: Memory items `(K, C)`; none by default. Items that have never been written (zeros) are left out.
        least_cells: Feature cells that a class must fill in an image; the mean of less is noise.
    """
    vectors, classes, domains = [], [], []
    for number, domain in enumerate(features.values()):
        rows, ids = np.nonzero(domain.shares >= least_cells)
        vectors.append(domain.image_means(which)[rows, ids])
        classes.append(ids)
        domains.append(np.full(len(ids), number))
    if items is not None:
        known = np.flatnonzero(np.linalg.norm(items, axis=1) > 0)
        vectors.append(items[known])
        classes.append(known)
        domains.append(np.full(len(known), MEMORY_ITEM))
    return FeaturePoints(unit_rows(np.concatenate(vectors)), np.concatenate(classes), np.concatenate(domains), tuple(features))


def _pooled(network: MemorySegmenter, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor | None, Tensor]]:
    """The three sums of each image."""
    features = network.encode(images).features
    labels = network.cells.cover(labels, (images.shape[-2], images.shape[-1]))
    queries = operations.unit(operations.at_least_float32(features))
    fused = None if network.memory is None else operations.unit(operations.at_least_float32(network.read(features).fused))
    found = []
    for number in range(len(images)):
        one = slice(number, number + 1)
        sums, shares = _class_sums(network, queries[one], labels[one])
        after = None if fused is None else _class_sums(network, fused[one], labels[one])[0]
        found.append((sums, after, shares))
    return found


def _class_sums(network: MemorySegmenter, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Share-weighted sums and shares, by the memory's own rule where there is one."""
    vectors = vectors.double()
    if network.memory is not None:
        return network.memory.class_sums(vectors, labels)
    size = (vectors.shape[2], vectors.shape[3])
    return operations.class_sums(vectors, class_shares(network)(labels, size, network.num_classes, vectors.dtype))


def class_shares(network: MemorySegmenter) -> Callable[..., Tensor]:
    """How labels fill the cells of a network without a memory: as in the released write, or by the pixels of a patch."""
    return operations.class_shares if network.cells.patch is None else operations.class_shares_by_area


def _array(parts: Iterable[Tensor]) -> np.ndarray:
    return torch.stack(list(parts)).cpu().numpy()


def _divided(sums: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Sums `(..., C)` by shares `(...)`, NaN where there are none."""
    return sums / np.where(shares > 0, shares, np.nan)[..., None]


def tsne(vectors: np.ndarray, seed: int = 0, perplexity: float = 30.0, iterations: int = 1000) -> np.ndarray:
    """Lay out vectors in the plane by t-SNE over cosine distances (van der Maaten & Hinton, 2008), the same for the same seed.

    Neighbours in the picture are neighbours in the feature space; distances and sizes of far clusters mean nothing.

    Args:
        vectors: `(P, C)`, at least three.
        seed: Of the optimisation.
        perplexity: About the number of neighbours that count; see `used_perplexity`.
        iterations: Steps of the optimisation, at least 250.

    Returns:
        `(P, 2)` float32.

    Raises:
        ConfigurationError: scikit-learn is not installed.
        ValueError: Too few vectors.
    """
    if len(vectors) < 3:
        raise ValueError(f"t-SNE needs three points at least, found {len(vectors)}")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigurationError(f"t-SNE needs scikit-learn: {install_hint('analysis')}.") from error
    layout = TSNE(
        2, perplexity=used_perplexity(len(vectors), perplexity), metric="cosine", init="pca", random_state=seed, max_iter=iterations
    )
    return layout.fit_transform(np.asarray(vectors, np.float32))


def used_perplexity(points: int, perplexity: float) -> float:
    """The perplexity that `tsne` takes for so many points: the requested one, but at most a third of the other points."""
    return min(perplexity, (points - 1) / 3)
