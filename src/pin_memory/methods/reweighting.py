"""How reliable labelled cells are, and what they, their classes, images or domains weigh in the segmentation losses (docs/alignment.md)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pin_memory.utils.distributed import concatenate_over_ranks, sum_over_ranks
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE

Groups = Literal["pixel", "class", "image", "domain"]
"""What has one weight."""


def cosines(projected: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines `(B, K, h, w)` of unit vectors `(B, D, h, w)` with prototypes, unit rows `(K, D)` for all images or `(B, K, D)` for each."""
    with torch.autocast(projected.device.type, enabled=False):  # prototypes differ by less than bfloat16 tells
        return torch.einsum("bdhw,kd->bkhw" if prototypes.ndim == 2 else "bdhw,bkd->bkhw", projected, prototypes)


def of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """The score `(B, h, w)` of each cell's own class among `(B, K, h, w)`; anything where a cell has none."""
    return scores.gather(1, labels.clamp(max=scores.shape[1] - 1).unsqueeze(1)).squeeze(1)


@torch.no_grad()
def reliability(projected: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """How far each cell is where its label says, `(B, h, w)` in (0, 1): its class's soft-max over the cosines with the prototypes."""
    return of_label((cosines(projected, prototypes) / temperature).softmax(dim=1), labels)


@torch.no_grad()
def sample_weights(
    reliability: Tensor,
    labels: Tensor,
    num_classes: int,
    per: Groups = "pixel",
    domains: Sequence[str] = (),
    limits: tuple[float, float] = (0.25, 4.0),
) -> Tensor:
    """Weights of the cells: their reliability over its mean, clipped, and over the mean again; means are over all ranks' labelled cells.

    Args:
        reliability: `(B, h, w)`.
        labels: `(B, h, w)`, 255 ignored.
        num_classes: K.
        per: What has one weight, from its mean reliability.
        domains: Name of each image's domain.
        limits: Smallest and largest weight before the last division.

    Returns:
        `(B, h, w)`; 1 where a cell is not labelled.
    """
    labelled, values = labels != IGNORE, reliability.double()  # whose sums of equal numbers are exact: equal cells weigh exactly 1
    if per == "class":
        values = group_means(values, labelled, torch.where(labelled, labels, num_classes), num_classes + 1)
    elif per != "pixel":
        names = list(map(str, range(len(labels)))) if per == "image" else list(domains)
        values = group_means(values, labelled, *image_groups(names, labels), over_ranks=per == "domain")
    for clip in (True, False):
        total, number = sum_over_ranks([(values * labelled).sum(), labelled.double().sum()])
        values = values * number / total.clamp(min=torch.finfo(torch.float64).tiny)  # all unreliable: all weigh the same
        values = values.clamp(*limits) if clip else values
    return torch.where(labelled, values, 1).to(reliability)


def image_groups(names: Sequence[str], labels: Tensor) -> tuple[Tensor, int]:
    """The group of each cell `(B, h, w)`, images of one name together, and the number of groups.

    Raises:
        ConfigurationError: Not every image has a name.
    """
    if len(names) != len(labels):
        raise ConfigurationError(
            f"method.alignment.reweight=domain needs the domain of each of {len(labels)} images, found {len(names)}: a method of one's own"
            " gives segmentation_loss the domains of what `merge` returns."
        )
    order = list(dict.fromkeys(names))
    groups = [torch.full_like(label, order.index(name)) for name, label in zip(names, labels, strict=True)]
    return torch.stack(groups), len(order)


def group_means(values: Tensor, labelled: Tensor, groups: Tensor, number: int, over_ranks: bool = True) -> Tensor:
    """The mean of each cell's group over its labelled cells, `(B, h, w)`; 1 for a group without any."""
    sums = values.new_zeros(2 * number)
    index = groups.flatten()
    sums.scatter_add_(0, torch.cat([index, index + number]), torch.cat([(values * labelled).flatten(), labelled.to(values).flatten()]))
    if over_ranks:
        (sums,) = sum_over_ranks([sums])
    total, count = sums.view(2, number)
    return torch.where(count > 0, total / count, 1)[groups]


@torch.no_grad()
def reliability_numbers(reliability: Tensor, labels: Tensor, domains: Sequence[str] = ()) -> dict[str, Tensor]:
    """Mean and smallest reliability of the labelled cells `(B, h, w)` of all ranks as `mean` and `min`, and of each domain with a name."""
    names = [name for name in dict.fromkeys(domains) if name]
    parts = {"": slice(None)} | {f"_{name}": slice(domains.index(name), domains.index(name) + domains.count(name)) for name in names}
    numbers: dict[str, Tensor] = {}
    for suffix, part in parts.items():
        labelled, values = labels[part] != IGNORE, reliability[part].double()
        total, count = sum_over_ranks([(values * labelled).sum(), labelled.double().sum()])
        least = concatenate_over_ranks(torch.where(labelled, values, 1).amin()[None]).amin()
        numbers |= {f"mean{suffix}": torch.where(count > 0, total / count, 1), f"min{suffix}": least}
    return numbers
