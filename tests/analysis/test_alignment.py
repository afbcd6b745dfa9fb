"""What the alignment with text has learned, against loops over images and cells."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.analysis import alignment
from pin_memory.analysis.context import unavailable_reason
from pin_memory.analysis.features import TEXT, VISUAL_TEXT
from pin_memory.methods import TextAlignmentLoss
from tests.helpers.tiny import tiny_alignment, tiny_batch, tiny_segmenter

STEP = 3


def label_of(pixels: torch.Tensor, majority: float) -> int:
    """The class that has this share of a cell's pixels, or 255."""
    counts = [int((pixels == k).sum()) for k in range(4)]
    return counts.index(max(counts)) if max(counts) >= majority * pixels.numel() else 255


@pytest.mark.parametrize("vtp", [0.0, 0.1])
def test_reliability_of_classes_equals_a_loop(vtp: float) -> None:
    """With labels of cells by majority, as the training has them."""
    loss = TextAlignmentLoss(vtp=vtp, majority=0.75, ramp=(0.0, 0.5), horizon=10)
    network = tiny_segmenter(memory=False, alignment=tiny_alignment()).eval()
    batch = tiny_batch(("a",), side=16)["a"]
    batch["label"][:, :8] = 1  # cells of one class
    found = alignment.aligned_features(network, [batch], loss, STEP)
    sums, cells = np.zeros(4), np.zeros(4)
    with torch.no_grad():
        text = network.require_alignment().prototypes
        for image, label in zip(batch["image"], batch["label"], strict=True):
            projected = network.project(network.encode(image[None]).features)
            rho = loss.rho(STEP)
            rows = (1 - rho) * text + rho * network.visual_text(projected)[0]
            rows = rows / rows.norm(dim=1, keepdim=True)
            height, width = projected.shape[-2:]
            for i in range(height):
                for j in range(width):
                    pixels = label[i * 16 // height : (i + 1) * 16 // height, j * 16 // width : (j + 1) * 16 // width]
                    if (k := label_of(pixels, 0.75)) != 255:
                        scores = (rows @ projected[0, :, i, j]) / loss.reliability_temperature
                        sums[k] += float(scores.exp()[k] / scores.exp().sum())
                        cells[k] += 1
    assert cells[1] > 0
    assert found.cells.tolist() == cells.tolist()
    np.testing.assert_allclose(found.trusted, sums, rtol=1e-5)


def test_text_that_never_looked_at_an_image_is_not_shown() -> None:
    network, batches = tiny_segmenter(memory=False, alignment=tiny_alignment()).eval(), [tiny_batch(("a",))["a"]]
    text = network.require_alignment().prototypes.numpy()
    with_visual, without = (alignment.aligned_features(network, batches, TextAlignmentLoss(vtp=weight), STEP) for weight in (0.1, 0.0))
    assert without.visual is None
    assert with_visual.visual is not None
    for found, kinds in ((with_visual, {TEXT, VISUAL_TEXT}), (without, {TEXT})):
        points = alignment.aligned_points({"a": found}, text)
        assert {domain for domain in points.domains.tolist() if domain < 0} == kinds
        assert len(points.vectors) == len(points.classes) == len(points.domains)
        assert ("visual_text" in alignment.nearness(found, text)[0]) == (VISUAL_TEXT in kinds)


@pytest.mark.parametrize("plot", ["prototypes", "reliability"])
def test_an_alignment_that_was_off_has_nothing_to_show(plot: str) -> None:
    loss = TextAlignmentLoss(otp=0, vtp=0, reweight=None)
    context: Any = SimpleNamespace(subject=SimpleNamespace(method="ppar", alignment=loss))
    assert "without alignment" in (unavailable_reason(plot, context) or "")
