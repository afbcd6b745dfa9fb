"""What the alignment with text has learned: features in the space of the text among the prototypes, and how reliable labels are."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pin_memory.analysis.features import TEXT, VISUAL_TEXT, ClassFeatures, FeaturePoints, class_shares, feature_points
from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.memory import operations
from pin_memory.methods import TextAlignmentLoss
from pin_memory.methods.alignment import cell_labels
from pin_memory.methods.batches import evaluation_mode
from pin_memory.methods.reweighting import cosines, reliability
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import normalize
from pin_memory.utils.labels import IGNORE
from pin_memory.utils.similarity import unit_rows


class AlignedFeatures(NamedTuple):
    """Of the images of a domain.

    `features` are the class sums of the projected features, `visual` the mean visual text prototypes `(K, D)`, None where the method has
    none, `trusted` and `cells` the sum of the reliability and the number of labelled cells of each class `(K,)`.
    """

    features: ClassFeatures
    visual: np.ndarray | None
    trusted: np.ndarray
    cells: np.ndarray

    @property
    def class_reliability(self) -> np.ndarray:
        """Mean reliability of each class `(K,)`, NaN where no cell has it."""
        return self.trusted / np.where(self.cells > 0, self.cells, np.nan)

    @property
    def mean_reliability(self) -> float:
        """Mean reliability of all labelled cells."""
        return float(self.trusted.sum() / self.cells.sum()) if self.cells.any() else float("nan")


@torch.inference_mode()
def aligned_features(
    network: MemorySegmenter,
    batches: Iterable[Mapping[str, Any]],
    loss: TextAlignmentLoss,
    step: int,
    statistics: BatchNormStatistics = RUNNING,
) -> AlignedFeatures:
    """Project the features of labelled images, and pool them by class.

    Args:
        network: With an alignment, on its device.
        batches: Of "image", "label" and "name", as of evaluation loaders.
        loss: What the network was trained with.
        step: Iterations it was trained for.
        statistics: What batch norm normalises by.
    """
    sums, shares, visuals, names = [], [], [], []
    trusted, cells = np.zeros(network.num_classes), np.zeros(network.num_classes)
    device = next(network.parameters()).device
    with evaluation_mode(network), statistics.applied(network):
        for batch in batches:
            names += [str(name) for name in batch["name"]]
            labels = batch["label"].to(device)
            for images in statistics.groups(normalize(batch["image"].to(device))):
                projected, visual, prototypes = _prototypes_of(network, images, loss.rho(step))
                own, labels = labels[: len(images)], labels[len(images) :]
                size = (projected.shape[2], projected.shape[3])
                own = network.cells.cover(own, (images.shape[-2], images.shape[-1]))
                filled = class_shares(network)(own, size, network.num_classes, torch.float64)
                sums.append(torch.einsum("bkhw,bdhw->bkd", filled, projected.double()))
                shares.append(filled.sum(dim=(2, 3)))
                visuals.append(visual)
                small = cell_labels(own, size, network.num_classes, loss.majority, network.cells)
                found, known = reliability(projected, prototypes, small, loss.reliability_temperature), small != IGNORE
                trusted += np.bincount(small[known].cpu().numpy(), found[known].double().cpu().numpy(), network.num_classes)
                cells += np.bincount(small[known].cpu().numpy(), minlength=network.num_classes)
    before, filled_cells, rows = (torch.cat(parts).double().cpu().numpy() for parts in (sums, shares, visuals))
    seen = rows.mean(axis=0) if loss.vtp else None  # not trained otherwise
    return AlignedFeatures(ClassFeatures(before, None, filled_cells, tuple(names)), seen, trusted, cells)


def aligned_points(aligned: Mapping[str, AlignedFeatures], text: np.ndarray) -> FeaturePoints:
    """The points of `features.feature_points`, the text prototypes `(K, D)`, and the mean visual ones of all domains, if there are any."""
    points = feature_points({name: found.features for name, found in aligned.items()})
    rows, visual = {TEXT: text}, [found.visual for found in aligned.values() if found.visual is not None]
    if visual:
        rows[VISUAL_TEXT] = np.mean(visual, axis=0)
    return FeaturePoints(
        unit_rows(np.concatenate([points.vectors, *rows.values()])),
        np.concatenate([points.classes, *(np.arange(len(text)) for _ in rows)]),
        np.concatenate([points.domains, *(np.full(len(text), kind) for kind in rows)]),
        points.names,
    )


def nearness(found: AlignedFeatures, text: np.ndarray) -> list[dict[str, float]]:
    """By class: cosines of the domain's mean feature with text and with visual text, and of the two; NaN where it does not show it."""
    features, rows = unit_rows(found.features.means()), unit_rows(text)
    pairs = {"text": (features, rows)}
    if found.visual is not None:
        visual = unit_rows(found.visual)
        pairs |= {"visual_text": (features, visual), "text_to_visual_text": (rows, visual)}
    columns = {name: (one * other).sum(axis=1).tolist() for name, (one, other) in pairs.items()}
    return [{name: values[k] for name, values in columns.items()} for k in range(len(text))]


@torch.inference_mode()
def reliability_map(
    network: MemorySegmenter,
    image: Tensor,
    truth: np.ndarray,
    loss: TextAlignmentLoss,
    step: int,
    statistics: BatchNormStatistics = RUNNING,
) -> np.ndarray:
    """How reliable the labels of an image are to the method after `step` iterations, `(H, W)` in 0..1; NaN where there is no label.

    Args:
        network: With an alignment.
        image: `(3, H, W)`, uint8 or normalised.
        truth: Its labels `(H, W)`.
        loss: What the network was trained with.
        step: Iterations it was trained for.
        statistics: What batch norm normalises by.
    """
    device = next(network.parameters()).device
    labels = torch.from_numpy(truth).long()[None].to(device)
    with evaluation_mode(network), statistics.applied(network):
        projected, _, prototypes = _prototypes_of(network, normalize(image[None].to(device)), loss.rho(step))
    # Cell by cell in training; here the cosines are resized, so that the borders of objects can be seen.
    shown, size = (image.shape[-2], image.shape[-1]), (labels.shape[-2], labels.shape[-1])
    scores = network.cells.to_pixels(cosines(projected, prototypes), shown, size)
    shares = (scores / loss.reliability_temperature).softmax(dim=1)
    found = shares.gather(1, labels.clamp(max=network.num_classes - 1)[:, None])[0, 0].float().cpu().numpy()
    return np.where(truth == IGNORE, np.nan, found)


def _prototypes_of(network: MemorySegmenter, images: Tensor, rho: float) -> tuple[Tensor, Tensor, Tensor]:
    """Projected features of images, their visual text prototypes, and what the reliability is measured by."""
    projected = network.project(network.encode(images).features)
    visual = network.visual_text(projected)
    text = network.require_alignment().prototypes
    return projected, visual, operations.unit((1 - rho) * text + rho * visual, dim=2)
