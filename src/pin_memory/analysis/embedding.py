"""Features in the plane."""

import numpy as np

from pin_memory.utils.errors import ConfigurationError


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
        raise ConfigurationError("t-SNE needs scikit-learn: pip install 'pin_memory[analysis]'.") from error
    layout = TSNE(
        2, perplexity=used_perplexity(len(vectors), perplexity), metric="cosine", init="pca", random_state=seed, max_iter=iterations
    )
    return layout.fit_transform(np.asarray(vectors, np.float32))


def used_perplexity(points: int, perplexity: float) -> float:
    """The perplexity that `tsne` takes for so many points: the requested one, but at most a third of the other points."""
    return min(perplexity, (points - 1) / 3)
