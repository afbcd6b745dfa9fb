"""How domain-agnostic class features are, as numbers: distances between domains, over distances between classes."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pin_memory.analysis.features import ClassFeatures
from pin_memory.utils.similarity import unit_rows


@dataclass(frozen=True)
class DomainDistances:
    """Cosine distances of class means, 0 (same direction) to 2; NaN for a class of which too little was seen.

    With μ(d, k) the share-weighted mean of the unit features of class k over the images of domain d:

        between_domains(k) = mean over pairs of domains a < b that show k of 1 - cos(μ(a, k), μ(b, k))
        between_classes(k) = mean over domains d and other classes j that d shows of 1 - cos(μ(d, k), μ(d, j))
        ratio(k)           = between_domains(k) / between_classes(k)
        noise(k)           = mean over domains d of (1 - cos(μ(d', k), μ(d'', k))) / 2, d' and d'' every other image of d

    A ratio near 0 means that a class looks the same wherever it is seen, near 1 that domains differ as much as classes do. `noise` is
    what two samples as large as these would differ by if the domains did not: the means of halves vary twice as much as those of all
    images, hence the factor. A distance that is hardly above it says nothing about the domains.
    """

    domains: tuple[str, ...]  # names of the D domains
    between_domains: np.ndarray  # (K,)
    between_classes: np.ndarray  # (K,)
    noise: np.ndarray  # (K,)
    pairs: np.ndarray  # (D, D) mean over the classes that both show, of 1 - cos(μ(a, k), μ(b, k))

    @property
    def ratio(self) -> np.ndarray:
        """Distance between domains over distance between classes, `(K,)`."""
        return self.between_domains / self.between_classes

    def overall(self) -> dict[str, float]:
        """Means over the classes that have all of them, and the ratio of the means: one number for a network."""
        known = np.isfinite(self.between_domains) & np.isfinite(self.between_classes)
        domains, classes = _mean(self.between_domains[known]), _mean(self.between_classes[known])
        return {
            "between_domains": float(domains),
            "between_classes": float(classes),
            "ratio": float(domains / classes),
            "noise": float(_mean(self.noise[known])),
        }


def domain_distances(features: Mapping[str, ClassFeatures], which: str = "before") -> DomainDistances:
    """Measure how far a class is from itself in other domains.

    Compare networks only by the same images: the fewer there are, the larger the noise in a mean.

    Args:
        features: Of each domain, two at least.
        which: "before" or "after" the memory is read.

    Raises:
        ValueError: Fewer than two domains.
    """
    if len(features) < 2:
        raise ValueError(f"distances between domains need two domains at least, found {', '.join(features) or 'none'}")
    means = unit_rows(np.stack([domain.means(which) for domain in features.values()]))  # (D, K, C)
    across = 1 - np.einsum("akc,bkc->abk", means, means)
    within = 1 - np.einsum("dkc,djc->dkj", means, means)
    halves = [unit_rows(np.stack([domain.half(side).means(which) for domain in features.values()])) for side in (0, 1)]
    number, classes = means.shape[:2]
    upper, others = np.triu_indices(number, k=1), ~np.eye(classes, dtype=bool)
    return DomainDistances(
        domains=tuple(features),
        between_domains=_mean(across[upper], axis=0),
        between_classes=_mean(np.where(others, within, np.nan), axis=(0, 2)),
        noise=_mean(1 - (halves[0] * halves[1]).sum(axis=-1), axis=0) / 2,
        pairs=_mean(across, axis=2),
    )


def _mean(values: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Mean of what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mean of an empty slice
        return np.nanmean(values, axis=axis)
