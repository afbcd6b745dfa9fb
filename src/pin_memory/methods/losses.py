"""Losses of the segmentation outputs and of the memory (Pin the Memory, section 3.3), as functions of tensors; each is a scalar >= 0."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pin_memory.memory.geometry import gram
from pin_memory.networks.cells import CORNERS, Cells
from pin_memory.utils.distributed import sum_over_ranks, world_size
from pin_memory.utils.labels import IGNORE


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None, cells: Cells = CORNERS) -> Tensor:
    """Mean cross entropy of `(B, K, H, W)` logits over the labelled pixels of `(B, H, W)`; 0 (with zero gradient) where none is labelled.

    The released code divides by zero in that case and steps on NaN. With several ranks the mean is over the labelled pixels of all of them:
    the mean of the ranks' losses, and of their gradients, is that of one process with all images. With `weights` `(B, h, w)` of cells,
    above 0 and resized to the labels' size, it is `Σ w CE / Σ w`.
    """
    each = partial(F.nll_loss, F.log_softmax(logits, dim=1), labels, ignore_index=IGNORE)
    ordered = (
        torch.are_deterministic_algorithms_enabled()
    )  # on a GPU PyTorch adds up in any order, and refuses to; its own sum has an order
    total = each(reduction="none").sum() if ordered else each(reduction="sum")
    (labelled,) = sum_over_ranks([(labels != IGNORE).sum()])
    if weights is None:
        return total * world_size() / labelled.clamp(min=1)
    # Σ w CE = Σ CE + Σ (w - 1) CE: where all weights are 1 it is the plain loss bit by bit.
    excess = cells.to_pixels((weights - 1).unsqueeze(1), (labels.shape[-2], labels.shape[-1])).squeeze(1)
    excess = excess.to(total.dtype) * (labels != IGNORE)
    (more,) = sum_over_ranks([excess.sum()])
    total = total + (excess * each(reduction="none")).sum()
    return total * world_size() / torch.where(labelled > 0, labelled + more, 1)


def auxiliary_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None, cells: Cells = CORNERS) -> Tensor:
    """Cross entropy, weighted as above, of the auxiliary head's `(B, K, h, w)` logits with the `(B, H, W)` labels at their size."""
    return cross_entropy(logits, cells.nearest(cells.cover(labels), (logits.shape[-2], logits.shape[-1])), weights)


def feature_cohesion(similarity: Tensor, labels: Tensor, temperature: float = 1.0, cells: Cells = CORNERS) -> Tensor:
    """Pull each feature towards the memory item of its class (eq. 6): cross entropy of the `(B, K, h, w)` similarities at label size.

    The similarities are those before the memory is written; `temperature` is τ > 0.
    """
    return cross_entropy(cells.to_pixels(similarity / temperature, (labels.shape[-2], labels.shape[-1])), labels)


def memory_divergence(items: Tensor) -> Tensor:
    """Push the items of different classes apart (eq. 7): mean of max(0, cosine) of unit rows `(K, C)` over the ordered pairs i ≠ j."""
    number = items.shape[0]
    cosines = F.relu(items @ items.T)
    return (cosines.sum() - cosines.diagonal().sum()) / (number * (number - 1))


def memory_structure(items: Tensor, target: Tensor) -> Tensor:
    """Keep the classes to each other as in text (ours): `1 - cos(vec G(M), vec G(T))` of items `(K, C)` and G(T) `(K, K)`.

    G are the cosines between class-centred rows, `memory.geometry.gram`; where the items lie does not matter. After CoPT, whose rows are
    centred over channels. A class without an item, whose row is zero, is left out of both matrices; that of text stays
    centred over all classes.
    """
    known = items.detach().any(dim=1)
    with torch.autocast(items.device.type, enabled=False):
        found, wanted = gram(items[known]), target.to(items)[known][:, known]
        return 1 - F.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)


def memory_classification(logits: Tensor) -> Tensor:
    """Keep each item recognisable as its class (eq. 8): cross entropy of `G(items)`, `(K, K)`, against the identities 0..K-1."""
    return F.cross_entropy(logits, torch.arange(logits.shape[0], device=logits.device))
