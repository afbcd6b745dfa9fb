"""Evaluation views against sizes and pixels worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from pin_memory.domains.loading.views import VIEWS, ViewTransform, find_view
from pin_memory.utils.errors import ConfigurationError


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, 3), np.uint8), generator.integers(0, 19, (height, width), np.uint8)


def test_native_changes_nothing() -> None:
    image, label = pair(5, 7)
    shown, evaluated = VIEWS["native"].apply(image, label)
    assert shown is image
    assert evaluated is label


def test_half_shows_and_evaluates_at_half_size() -> None:
    image, label = pair(6, 8)
    shown, evaluated = VIEWS["half"].apply(image, label)
    assert shown.shape == (3, 4, 3)
    np.testing.assert_array_equal(evaluated, label[1::2, 1::2])  # the centre of a pair of pixels rounds up
    np.testing.assert_array_equal(shown, np.asarray(Image.fromarray(image).resize((4, 3), Image.Resampling.BICUBIC)))


def test_half_image_evaluates_at_native_size() -> None:
    image, label = pair(6, 8)
    shown, evaluated = VIEWS["half_image"].apply(image, label)
    assert shown.shape == (3, 4, 3)
    assert evaluated is label


def test_centre_1536_of_a_wide_picture() -> None:
    """1632 x 1224 becomes 2048 x 1536, of which columns 256..1791 stay."""
    image, label = pair(1224, 1632)
    shown, evaluated = VIEWS["centre_1536"].apply(image, label)
    assert shown.shape == (1536, 1536, 3)
    assert evaluated.shape == (1536, 1536)
    rows, columns = np.arange(1536), np.arange(256, 1792)
    source = label[((rows + 0.5) * 1224 / 1536).astype(int)[:, None], ((columns + 0.5) * 1632 / 2048).astype(int)]
    np.testing.assert_array_equal(evaluated, source)


def test_centre_1536_does_not_evaluate_outside_a_narrow_picture() -> None:
    """600 x 800 (portrait) becomes 1152 x 1536, with 192 columns on either side that are no road."""
    image, label = pair(800, 600)
    label[:] = 0
    shown, evaluated = VIEWS["centre_1536"].apply(image, label)
    assert shown.shape == (1536, 1536, 3)
    assert (evaluated[:, :192] == 255).all()
    assert (evaluated[:, -192:] == 255).all()
    assert (evaluated[:, 192:-192] == 0).all()
    assert (shown[:, :192] == 0).all()


def test_transform_makes_tensors() -> None:
    image, label = ViewTransform("half_image")(*pair(6, 8))
    assert image.shape == (3, 3, 4)
    assert label.shape == (6, 8)


def test_unknown_view_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"view=quarter.*native, half, half_image, centre_1536"):
        find_view("quarter")
