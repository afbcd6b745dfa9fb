"""Features as the backbone has them, scaled cell by cell."""

import pytest
import torch

from pin_memory.networks import ScaledFeatures
from pin_memory.utils.errors import ConfigurationError


def test_each_cell_has_a_mean_square_of_one() -> None:
    """Against a loop; the direction of a cell stays, a cell of zeros stays zero, and both are differentiable."""
    features = torch.randn(2, 6, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 50
    features[1, :, 2, 3] = 0
    features.requires_grad_()
    scaled = ScaledFeatures(6, 6, 8)(features)
    for image in range(2):
        for row in range(3):
            for column in range(4):
                cell = features[image, :, row, column]
                expected = cell / (cell.square().mean() + 1e-6).sqrt()
                torch.testing.assert_close(scaled[image, :, row, column], expected)
    scaled.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"set network\.channels=24"):
        ScaledFeatures(24, 112, 8)
