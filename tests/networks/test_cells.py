"""Where cells lie on images: patches with padding, and the corners of the released networks."""

import pytest
import torch

from pin_memory.methods.losses import auxiliary_loss, cross_entropy, feature_cohesion
from pin_memory.networks.cells import CORNERS, Cells
from pin_memory.utils.labels import IGNORE

PATCH = 4
SIZES = [(8, 12), (7, 9), (5, 12)]


def by_hand(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear between the centres of patches, pixel by pixel; beyond the outer centres the value of the outer cell."""
    rows, columns = maps.shape[-2:]
    found = torch.empty(*maps.shape[:2], *size, dtype=maps.dtype)
    for y in range(size[0]):
        for x in range(size[1]):
            down, across = (min(max((at + 0.5) / PATCH - 0.5, 0.0), count - 1.0) for at, count in ((y, rows), (x, columns)))
            top, left = int(down), int(across)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = maps[..., top, left] * (1 - across % 1) + maps[..., top, right] * (across % 1)
            lower = maps[..., below, left] * (1 - across % 1) + maps[..., below, right] * (across % 1)
            found[..., y, x] = upper * (1 - down % 1) + lower * (down % 1)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_patches_lie_where_their_pixels_are(size: tuple[int, int]) -> None:
    """Against a loop, also where the image was padded; a map that is as fine as pixels is cut alone."""
    cells = Cells(PATCH)
    rows, columns = -(-size[0] // PATCH), -(-size[1] // PATCH)
    maps = torch.randn(2, 3, rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert cells.padded(size) == (rows * PATCH, columns * PATCH)
    torch.testing.assert_close(cells.to_pixels(maps, size), by_hand(maps, size))
    fine = torch.randn(1, 1, rows * PATCH, columns * PATCH)
    assert torch.equal(cells.to_pixels(fine, size), fine[..., : size[0], : size[1]])


@pytest.mark.parametrize("size", SIZES)
def test_labels_go_to_the_cell_that_holds_their_pixel(size: tuple[int, int]) -> None:
    """Padding is ignored; a cell's own label is that of its centre."""
    cells = Cells(PATCH)
    labels = torch.arange(size[0] * size[1]).view(1, *size) % 200
    covered = cells.cover(labels)
    assert covered.shape[-2:] == cells.padded(size)
    assert torch.equal(covered[..., : size[0], : size[1]], labels)
    assert int((covered == IGNORE).sum()) == covered.numel() - labels.numel()
    rows, columns = covered.shape[-2] // PATCH, covered.shape[-1] // PATCH
    expected = [[int(covered[0, r * PATCH + PATCH // 2, c * PATCH + PATCH // 2]) for c in range(columns)] for r in range(rows)]
    assert cells.nearest(covered, (rows, columns)).tolist() == [expected]


def test_labels_of_another_size_than_the_image() -> None:
    """Twice as fine: padded by twice as many pixels, and maps are resized to the part that the image shows."""
    cells, image = Cells(PATCH), (7, 9)
    assert cells.cover(torch.zeros(1, 14, 18, dtype=torch.int64), image).shape == (1, 16, 24)
    ramp = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 2, 3)
    twice = cells.to_pixels(ramp, image, (14, 18))
    assert twice.shape == (1, 1, 14, 18)
    # The middle of the image's column 5 is between those of columns 10 and 11 of the finer grid.
    torch.testing.assert_close(twice[..., 10:12].mean(dim=-1), cells.to_pixels(ramp, image)[..., ::1, 5].repeat_interleave(2, dim=-1))


def test_losses_compare_cells_with_their_own_pixels() -> None:
    """A map that is right in every patch has no auxiliary loss, and a smaller cohesion loss than one that is shifted by a cell."""
    truth = torch.tensor([[[0, 1, 2], [2, 0, 1]]])
    labels = truth.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[..., :7, :10]
    right = torch.nn.functional.one_hot(truth, 3).permute(0, 3, 1, 2).double() * 50
    cells = Cells(PATCH)
    assert float(auxiliary_loss(right, labels, cells=cells)) < 1e-12
    assert float(feature_cohesion(right, labels, cells=cells)) < 0.3 * float(feature_cohesion(right.roll(1, dims=3), labels, cells=cells))
    weights = torch.tensor([[[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    logits = cells.to_pixels(torch.randn(1, 3, 2, 3, generator=torch.Generator().manual_seed(1)), (7, 10))
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    fine = by_hand(weights[:, None], (7, 10))[:, 0]
    torch.testing.assert_close(cross_entropy(logits, labels, weights, cells), (fine * each).sum() / fine.sum())


def test_corners_are_as_released() -> None:
    """Nothing is padded, and corner cells lie on corner pixels."""
    maps, labels = torch.randn(1, 2, 3, 4), torch.randint(0, 9, (1, 33, 47))
    found = CORNERS.to_pixels(maps, (33, 47))
    assert torch.equal(found[..., ::32, ::46], maps[..., ::2, ::3])
    assert CORNERS.cover(labels) is labels
    assert torch.equal(CORNERS.nearest(labels, (3, 4)), labels[:, ::11][:, :, [0, 11, 23, 35]])
