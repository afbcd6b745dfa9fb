"""Rotations that take text into the space of the features: all cosines are kept, and the best one is scipy's."""

import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from pin_memory.memory.geometry import centre, gram, isometry, procrustes
from pin_memory.utils.errors import ConfigurationError


def unit_rows(classes: int, dim: int, seed: int) -> Tensor:
    """Random unit rows in float64."""
    drawn = torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("channels", [19, 256])
@pytest.mark.parametrize("centred", [False, True])
def test_rotations_keep_all_cosines(channels: int, centred: bool) -> None:
    text = centre(unit_rows(19, 512, 1)) if centred else unit_rows(19, 512, 1)
    for found in (isometry(text, channels, seed=3), procrustes(text, unit_rows(19, channels, 2))):
        assert found.shape == (19, channels)
        assert found.dtype == torch.float64
        assert (found @ found.T - text @ text.T).abs().max() < 1e-14  # 2e-15 with the text of CLIP, 4e-15 here


def test_a_frame_follows_from_its_seed() -> None:
    text = unit_rows(5, 12, 0).float()
    one, again, other = isometry(text, 8, 1), isometry(text, 8, 1), isometry(text, 8, 2)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=0.1)
    assert one.dtype == torch.float32


@pytest.mark.parametrize("unseen", [[], [3, 7]])
@pytest.mark.parametrize("dim", [512, 256, 64])
def test_the_rotation_is_scipys(dim: int, unseen: list[int]) -> None:
    text, items = unit_rows(19, dim, 1), unit_rows(19, 256, 2)
    items[unseen] = 0
    found = procrustes(text, items)
    width = max(dim, 256)
    padded = [torch.nn.functional.pad(one, (0, width - one.shape[1])) for one in (text, items)]
    rotation, _ = orthogonal_procrustes(padded[0].numpy(), padded[1].numpy())
    distance = ((padded[0].numpy() @ rotation - padded[1].numpy()) ** 2).sum()
    assert float(((found - items) ** 2).sum()) == pytest.approx(distance, abs=1e-9)
    if not unseen:  # then there is one best rotation alone
        assert torch.allclose(torch.from_numpy(padded[0].numpy() @ rotation)[:, :256], found, atol=1e-9)


def test_rotated_text_is_nearer_than_in_a_random_frame() -> None:
    text, items = unit_rows(19, 512, 1), unit_rows(19, 256, 2)
    near, far = ((rows * items).sum(dim=1).mean() for rows in (procrustes(text, items), isometry(text, 256, 0)))
    assert near > 0.8
    assert abs(far) < 0.1


def test_text_that_was_rotated_is_rotated_back() -> None:
    text = unit_rows(19, 512, 1)
    items = isometry(text, 256, 5)
    assert torch.allclose(procrustes(text, items), items, atol=1e-12)


def test_gram_is_that_of_class_centred_rows() -> None:
    text = unit_rows(6, 9, 4)
    mean = sum(text) / 6
    for i in range(6):
        for j in range(6):
            one, other = text[i] - mean, text[j] - mean
            assert float(gram(text)[i, j]) == pytest.approx(float(one @ other / (one.norm() * other.norm())), abs=1e-12)
    assert torch.allclose(gram(isometry(text, 30, 0)), gram(text), atol=1e-12)


def test_more_classes_than_channels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"network.channels=19"):
        isometry(unit_rows(19, 512, 1), 16, 0)
    with pytest.raises(ConfigurationError, match=r"network.channels=19"):
        procrustes(unit_rows(19, 512, 1), unit_rows(19, 16, 1))
